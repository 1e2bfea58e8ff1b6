// SPDX-License-Identifier: Apache-2.0
// kind: map-value-bounds
#include "refusals.h"

struct histogram {
	__u64 bucket[16];
};
ARRAY(histograms, struct histogram);

SEC("xdp")
int wrong(struct xdp_md *ctx)
{
	__u32 key = 0;
	__u64 index = ctx->rx_queue_index;
	struct histogram *h = bpf_map_lookup_elem(&histograms, &key);

	// change:
	if (!h || index > 16)
		return XDP_PASS;
	h->bucket[index]++;
	return XDP_PASS;
}

SEC("xdp")
int right(struct xdp_md *ctx)
{
	__u32 key = 0;
	__u64 index = ctx->rx_queue_index;
	struct histogram *h = bpf_map_lookup_elem(&histograms, &key);

	if (!h || index >= 16)
		return XDP_PASS;
	h->bucket[index]++;
	return XDP_PASS;
}

LICENSED;
