/* Functions: static, global, weak, hidden, shared by programs, called before
 * and after they are defined, by address, and several programs in one section. */
#include "bpf.h"

static __noinline int leaf(int x) { return x * 3 + 1; }
static __noinline int middle(int x) { return leaf(x) + leaf(x + 1); }

__noinline int global(int x) { return middle(x) ^ leaf(x); }
__hidden __noinline int hidden(int x) { return x - 5; }
__weak __noinline int weak(int x) { return x + 11; }

static long callback(u32 i, void *ctx)
{
	*(u64 *)ctx += leaf(i);
	return 0;
}

__hidden __noinline long global_callback(u32 i, u64 *ctx) { return ctx ? i & 1 : 0; }

SEC("xdp") int first(u32 *ctx) { return global(ctx[3]) + hidden(ctx[4]); }

SEC("xdp") int second(u32 *ctx)
{
	u64 sum = weak(ctx[3]);

	bpf_loop(4, callback, &sum, 0);
	bpf_loop(2, global_callback, &sum, 0);
	return sum;
}

SEC("tc") int third(u32 *ctx) { return leaf(ctx[3]) + middle(ctx[4]); }
SEC("?socket") int optional(u32 *ctx) { return hidden(ctx[3]); }
SEC("kprobe/do_unlinkat") int probe(void *ctx) { return 0; }

char _license[] SEC("license") = "Dual BSD/GPL";
