// SPDX-License-Identifier: Apache-2.0
// kind: callback-return
#include "refusals.h"

static int wrong_turn(__u32 i, void *ctx)
{
	// change:
	return 2;
}

static int right_turn(__u32 i, void *ctx)
{
	return 1;
}

SEC("xdp")
int wrong(struct xdp_md *ctx)
{
	bpf_loop(8, wrong_turn, NULL, 0);
	return XDP_PASS;
}

SEC("xdp")
int right(struct xdp_md *ctx)
{
	bpf_loop(8, right_turn, NULL, 0);
	return XDP_PASS;
}

LICENSED;
