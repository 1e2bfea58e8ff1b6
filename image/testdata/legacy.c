/* Maps from before BTF: struct bpf_map_def, one of them typed by its companion. */
#include "bpf.h"

struct bpf_map_def {
	u32 type, key_size, value_size, max_entries, map_flags;
};

struct bpf_map_def SEC("maps") packets = { .type = HASH, .key_size = 4, .value_size = 8, .max_entries = 16, .map_flags = 1 };
struct bpf_map_def SEC("maps") slots = { .type = ARRAY, .key_size = 4, .value_size = 8, .max_entries = 3 };

struct ____btf_map_packets {
	u32 key;
	u64 value;
};
struct ____btf_map_packets SEC(".maps.packets") ____btf_map_packets = {};

SEC("xdp_legacy") int entry(void *ctx)
{
	u32 key = 1;

	map_lookup_elem(&slots, &key);
	map_lookup_elem(&packets, &key);
	return 2;
}

char _license[] SEC("license") = "GPL";
