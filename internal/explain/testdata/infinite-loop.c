// SPDX-License-Identifier: Apache-2.0
// kind: infinite-loop
#include "refusals.h"

SEC("xdp")
int wrong(struct xdp_md *ctx)
{
	int i = 0;

	// change:
	while (i < 10)
		asm volatile("" : "+r"(i)); // i is never counted
	return XDP_PASS;
}

SEC("xdp")
int right(struct xdp_md *ctx)
{
	for (int i = 0; i < 10; i++)
		asm volatile("" : "+r"(ctx));
	return XDP_PASS;
}

LICENSED;
