/* Variables of an arena lie in an address space of their own. */
#include "bpf.h"

struct {
	__uint(type, ARENA);
	__uint(map_flags, 1 << 10);
	__uint(max_entries, 2);
	__ulong(map_extra, 1ull << 44);
} arena SEC(".maps");

__attribute__((address_space(1))) u32 first = 5;
__attribute__((address_space(1))) u64 second;

SEC("syscall") int entry(void *ctx)
{
	second += first;
	map_lookup_elem(&arena, ctx);
	return 0;
}

char _license[] SEC("license") = "GPL";
