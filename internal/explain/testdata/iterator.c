// SPDX-License-Identifier: Apache-2.0
// kind: iterator
#include "refusals.h"

SEC("xdp")
int wrong(struct xdp_md *ctx)
{
	struct bpf_iter_num it;
	int *i;

	bpf_iter_num_new(&it, 0, 4);
	bpf_iter_num_destroy(&it);
	// change:
	i = bpf_iter_num_next(&it);
	return i ? XDP_PASS : XDP_DROP;
}

SEC("xdp")
int right(struct xdp_md *ctx)
{
	struct bpf_iter_num it;
	int *i, verdict = XDP_DROP;

	bpf_iter_num_new(&it, 0, 4);
	i = bpf_iter_num_next(&it);
	if (i)
		verdict = XDP_PASS;
	bpf_iter_num_destroy(&it);
	return verdict;
}

LICENSED;
