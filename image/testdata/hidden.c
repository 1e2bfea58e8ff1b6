/* Maps that libbpf refuses and other loaders take: hidden and static ones. */
#include "bpf.h"

struct {
	__uint(type, ARRAY);
	__type(key, u32);
	__type(value, u64);
	__uint(max_entries, 2);
} concealed SEC(".maps") __hidden;

static struct {
	__uint(type, HASH);
	__type(key, u32);
	__type(value, u32);
	__uint(max_entries, 3);
} local SEC(".maps");

static struct {
	__uint(type, HASH);
	__type(key, u64);
	__type(value, u32);
	__uint(max_entries, 4);
} other SEC(".maps");

SEC("xdp") int entry(void *ctx)
{
	u64 key = 0;

	map_lookup_elem(&concealed, &key);
	map_lookup_elem(&local, &key);
	map_lookup_elem(&other, &key);
	return 0;
}

char _license[] SEC("license") = "GPL";
