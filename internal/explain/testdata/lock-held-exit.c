// SPDX-License-Identifier: Apache-2.0
// kind: lock-held-exit
#include "refusals.h"

struct value {
	struct bpf_spin_lock lock;
	__u64 count;
};
ARRAY(values, struct value);

SEC("xdp")
int wrong(struct xdp_md *ctx)
{
	__u32 key = 0;
	struct value *v = bpf_map_lookup_elem(&values, &key);

	if (!v)
		return XDP_PASS;
	bpf_spin_lock(&v->lock);
	// change:
	if (v->count > 100)
		return XDP_DROP;
	v->count++;
	bpf_spin_unlock(&v->lock);
	return XDP_PASS;
}

SEC("xdp")
int right(struct xdp_md *ctx)
{
	__u32 key = 0;
	struct value *v = bpf_map_lookup_elem(&values, &key);

	if (!v)
		return XDP_PASS;
	bpf_spin_lock(&v->lock);
	if (v->count > 100) {
		bpf_spin_unlock(&v->lock);
		return XDP_DROP;
	}
	v->count++;
	bpf_spin_unlock(&v->lock);
	return XDP_PASS;
}

LICENSED;
