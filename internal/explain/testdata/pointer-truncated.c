// SPDX-License-Identifier: Apache-2.0
// kind: pointer-truncated
#include "refusals.h"

SEC("xdp")
int wrong(struct xdp_md *ctx)
{
	void *data_end = (void *)(long)ctx->data_end;
	void *data = (void *)(long)ctx->data;

	// change:
	asm volatile("r1 = %0; w1 += 14; %0 = r1" : "+r"(data) : : "r1"); // as (__u32)data + 14 may become
	if (data + 1 > data_end)
		return XDP_DROP;
	return *(__u8 *)data ? XDP_PASS : XDP_DROP;
}

SEC("xdp")
int right(struct xdp_md *ctx)
{
	void *data_end = (void *)(long)ctx->data_end;
	void *data = (void *)(long)ctx->data;

	asm volatile("r1 = %0; r1 += 14; %0 = r1" : "+r"(data) : : "r1");
	if (data + 1 > data_end)
		return XDP_DROP;
	return *(__u8 *)data ? XDP_PASS : XDP_DROP;
}

LICENSED;
