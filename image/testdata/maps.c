/* Map definitions in BTF: every member, typedefs, inner maps and first elements. */
#include "bpf.h"

struct flow {
	u32 saddr, daddr;
	u16 sport, dport;
};
typedef struct flow flow_t;
struct count {
	u64 packets, bytes;
};

struct {
	__uint(type, HASH);
	__type(key, flow_t);
	__type(value, struct count);
	__uint(max_entries, 1024);
	__uint(map_flags, 1 | 1 << 7);
	__uint(pinning, 1);
} flows SEC(".maps");

struct {
	__uint(type, ARRAY);
	__uint(key_size, 4);
	__uint(value_size, 12);
	__uint(max_entries, 7);
	__uint(numa_node, 0);
} by_size SEC(".maps");

struct {
	__uint(type, BLOOM_FILTER);
	__type(value, u32);
	__uint(max_entries, 100);
	__uint(map_extra, 3);
} bloom SEC(".maps");

struct {
	__uint(type, RINGBUF);
	__uint(max_entries, 5000);
} ring SEC(".maps");

struct inner {
	__uint(type, ARRAY);
	__type(key, u32);
	__type(value, u64);
	__uint(max_entries, 2);
};
struct inner inner_a SEC(".maps"), inner_b SEC(".maps");

struct {
	__uint(type, ARRAY_OF_MAPS);
	__type(key, u32);
	__uint(max_entries, 4);
	__array(values, struct inner);
} outer SEC(".maps") = { .values = { [1] = &inner_a, [3] = (void *)&inner_b } };

struct {
	__uint(type, HASH_OF_MAPS);
	__type(key, u32);
	__uint(max_entries, 4);
	__array(values, struct inner);
} outer_hash SEC(".maps") = { .values = { [2] = &inner_a } };

int leaf_a(struct xdp_md *ctx);
int leaf_b(struct xdp_md *ctx);

struct {
	__uint(type, PROG_ARRAY);
	__uint(key_size, 4);
	__uint(max_entries, 3);
	__array(values, int(struct xdp_md *));
} jumps SEC(".maps") = { .values = { [0] = leaf_a, [2] = leaf_b } };

SEC("xdp") int leaf_a(struct xdp_md *ctx) { return 1; }
SEC("xdp") int leaf_b(struct xdp_md *ctx) { return 2; }

SEC("xdp") int entry(struct xdp_md *ctx)
{
	u32 key = 1;
	flow_t flow = { .saddr = 7 };

	map_lookup_elem(&flows, &flow);
	map_lookup_elem(&by_size, &key);
	map_lookup_elem(&outer, &key);
	map_lookup_elem(&outer_hash, &key);
	map_lookup_elem(&inner_b, &key);
	tail_call(ctx, &jumps, 0);
	return 2;
}

char _license[] SEC("license") = "GPL";
u32 _version SEC("version") = 0x60100;
