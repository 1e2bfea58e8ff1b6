// SPDX-License-Identifier: Apache-2.0
// kind: tail-call
#include "refusals.h"

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 4);
	__uint(key_size, 4);
	__uint(value_size, 4);
} programs SEC(".maps");

static __noinline void wrong_next(struct xdp_md *ctx)
{
	// change:
	bpf_tail_call(ctx, &programs, 1);
}

static __noinline int right_next(struct xdp_md *ctx)
{
	bpf_tail_call(ctx, &programs, 1);
	return 0;
}

SEC("xdp")
int wrong(struct xdp_md *ctx)
{
	wrong_next(ctx);
	return XDP_PASS;
}

SEC("xdp")
int right(struct xdp_md *ctx)
{
	return right_next(ctx) ? XDP_PASS : XDP_DROP;
}

LICENSED;
