// SPDX-License-Identifier: Apache-2.0
// kind: special-field
#include "refusals.h"

struct value {
	__u32 count;
	struct bpf_spin_lock lock;
};
ARRAY(values, struct value);

SEC("xdp")
int wrong(struct xdp_md *ctx)
{
	__u32 key = 0;
	struct value *v = bpf_map_lookup_elem(&values, &key);

	if (!v)
		return XDP_PASS;
	// change:
	bpf_spin_lock((void *)&v->count);
	v->count++;
	bpf_spin_unlock((void *)&v->count);
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
	v->count++;
	bpf_spin_unlock(&v->lock);
	return XDP_PASS;
}

LICENSED;
