// SPDX-License-Identifier: Apache-2.0
// kind: packet-bounds
#include "refusals.h"

SEC("xdp")
int wrong(struct xdp_md *ctx)
{
	__u8 *data_end = (void *)(long)ctx->data_end;
	__u8 *data = (void *)(long)ctx->data;

	// change:
	if (data + 13 > data_end)
		return XDP_DROP;
	return data[13] == 8 ? XDP_PASS : XDP_DROP;
}

SEC("xdp")
int right(struct xdp_md *ctx)
{
	__u8 *data_end = (void *)(long)ctx->data_end;
	__u8 *data = (void *)(long)ctx->data;

	if (data + 14 > data_end)
		return XDP_DROP;
	return data[13] == 8 ? XDP_PASS : XDP_DROP;
}

LICENSED;
