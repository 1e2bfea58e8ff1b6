// SPDX-License-Identifier: Apache-2.0
// kind: map-value-bounds
#include "refusals.h"

struct small {
	__u64 packets;
};
struct large {
	__u64 packets;
	__u64 bytes;
};
ARRAY(counters, struct small);

SEC("xdp")
int wrong(struct xdp_md *ctx)
{
	__u32 key = 0;
	struct large *value = bpf_map_lookup_elem(&counters, &key);

	if (value)
		// change:
		value->bytes += ctx->data_end - ctx->data;
	return XDP_PASS;
}

SEC("xdp")
int right(struct xdp_md *ctx)
{
	__u32 key = 0;
	struct small *value = bpf_map_lookup_elem(&counters, &key);

	if (value)
		value->packets++;
	return XDP_PASS;
}

LICENSED;
