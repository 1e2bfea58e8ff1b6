// SPDX-License-Identifier: Apache-2.0
// kind: packet-bounds
#include "refusals.h"

struct record {
	__u32 length;
	__u8 body[];
};

SEC("xdp")
int wrong(struct xdp_md *ctx)
{
	void *data_end = (void *)(long)ctx->data_end;
	struct record *record = (void *)(long)ctx->data;
	__u8 *last;

	if ((void *)(record + 1) > data_end)
		return XDP_DROP;
	// change:
	__u32 length = record->length & 0xfffff;
	last = record->body + length;
	if (last + 1 > (__u8 *)data_end)
		return XDP_DROP;
	return *last ? XDP_PASS : XDP_DROP;
}

SEC("xdp")
int right(struct xdp_md *ctx)
{
	void *data_end = (void *)(long)ctx->data_end;
	struct record *record = (void *)(long)ctx->data;
	__u8 *last;

	if ((void *)(record + 1) > data_end)
		return XDP_DROP;
	__u32 length = record->length & 0xfff;
	last = record->body + length;
	if (last + 1 > (__u8 *)data_end)
		return XDP_DROP;
	return *last ? XDP_PASS : XDP_DROP;
}

LICENSED;
