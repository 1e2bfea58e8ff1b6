// SPDX-License-Identifier: Apache-2.0
// kind: reference-leak
#include "refusals.h"

SEC("xdp")
int wrong(struct xdp_md *ctx)
{
	struct bpf_iter_num it;
	int *i;

	bpf_iter_num_new(&it, 0, 16);
	while ((i = bpf_iter_num_next(&it))) {
		// change:
		if (*i == ctx->rx_queue_index)
			return XDP_DROP;
	}
	bpf_iter_num_destroy(&it);
	return XDP_PASS;
}

SEC("xdp")
int right(struct xdp_md *ctx)
{
	struct bpf_iter_num it;
	int *i, verdict = XDP_PASS;

	bpf_iter_num_new(&it, 0, 16);
	while ((i = bpf_iter_num_next(&it))) {
		if (*i == ctx->rx_queue_index) {
			verdict = XDP_DROP;
			break;
		}
	}
	bpf_iter_num_destroy(&it);
	return verdict;
}

LICENSED;
