// SPDX-License-Identifier: Apache-2.0
// kind: not-a-pointer
#include "refusals.h"

struct slot {
	__u32 *counter; // an address that user space put there
	__u32 own;
};
ARRAY(slots, struct slot);

SEC("xdp")
int wrong(struct xdp_md *ctx)
{
	__u32 key = 0;
	struct slot *slot = bpf_map_lookup_elem(&slots, &key);

	if (!slot)
		return XDP_PASS;
	// change:
	*slot->counter += 1;
	return XDP_PASS;
}

SEC("xdp")
int right(struct xdp_md *ctx)
{
	__u32 key = 0;
	struct slot *slot = bpf_map_lookup_elem(&slots, &key);

	if (!slot)
		return XDP_PASS;
	slot->own += 1;
	return XDP_PASS;
}

LICENSED;
