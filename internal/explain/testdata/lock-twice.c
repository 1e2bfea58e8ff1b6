// SPDX-License-Identifier: Apache-2.0
// kind: lock-twice
#include "refusals.h"

struct value {
	struct bpf_spin_lock lock;
	__u64 count;
};
ARRAY(values, struct value);

SEC("xdp")
int wrong(struct xdp_md *ctx)
{
	__u32 key = 0, next = 1;
	struct value *v = bpf_map_lookup_elem(&values, &key);
	struct value *w = bpf_map_lookup_elem(&values, &next);

	if (!v || !w)
		return XDP_PASS;
	bpf_spin_lock(&v->lock);
	// change:
	bpf_spin_lock(&w->lock);
	w->count = v->count;
	bpf_spin_unlock(&w->lock);
	bpf_spin_unlock(&v->lock);
	return XDP_PASS;
}

SEC("xdp")
int right(struct xdp_md *ctx)
{
	__u32 key = 0, next = 1;
	struct value *v = bpf_map_lookup_elem(&values, &key);
	struct value *w = bpf_map_lookup_elem(&values, &next);
	__u64 count;

	if (!v || !w)
		return XDP_PASS;
	bpf_spin_lock(&v->lock);
	count = v->count;
	bpf_spin_unlock(&v->lock);
	bpf_spin_lock(&w->lock);
	w->count = count;
	bpf_spin_unlock(&w->lock);
	return XDP_PASS;
}

LICENSED;
