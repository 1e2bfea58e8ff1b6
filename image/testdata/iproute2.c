/* Maps as tc's loader defines them: pinning, inner maps, tail calls by section name. */
#include "bpf.h"

struct bpf_elf_map {
	u32 type, size_key, size_value, max_elem, flags, id, pinning, inner_id, inner_idx;
};

struct bpf_elf_map SEC("maps") calls = { .type = PROG_ARRAY, .size_key = 4, .size_value = 4, .max_elem = 4, .id = 1 };
struct bpf_elf_map SEC("maps") shared = { .type = HASH, .size_key = 4, .size_value = 8, .max_elem = 9, .pinning = 2, .inner_idx = -1 };
struct bpf_elf_map SEC("maps") inner = { .type = ARRAY, .size_key = 4, .size_value = 4, .max_elem = 1, .id = 5, .inner_idx = 2 };
struct bpf_elf_map SEC("maps") outer = { .type = ARRAY_OF_MAPS, .size_key = 4, .size_value = 4, .max_elem = 3, .inner_id = 5 };

SEC("1/3") int tail(void *ctx) { return 1; }

SEC("classifier") int entry(void *ctx)
{
	u32 key = 0;

	map_lookup_elem(&shared, &key);
	map_lookup_elem(&outer, &key);
	tail_call(ctx, &calls, 3);
	return 0;
}

char _license[] SEC("license") = "GPL";
