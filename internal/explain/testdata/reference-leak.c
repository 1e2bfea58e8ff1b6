// SPDX-License-Identifier: Apache-2.0
// kind: reference-leak
#include "refusals.h"

MAP_RING(ring);

SEC("xdp")
int wrong(struct xdp_md *ctx)
{
	__u64 *record = bpf_ringbuf_reserve(&ring, sizeof(*record), 0);

	if (!record)
		return XDP_PASS;
	*record = bpf_ktime_get_ns();
	// change:
	if (*record & 1)
		return XDP_DROP;
	bpf_ringbuf_submit(record, 0);
	return XDP_PASS;
}

SEC("xdp")
int right(struct xdp_md *ctx)
{
	__u64 *record = bpf_ringbuf_reserve(&ring, sizeof(*record), 0);

	if (!record)
		return XDP_PASS;
	*record = bpf_ktime_get_ns();
	if (*record & 1) {
		bpf_ringbuf_discard(record, 0);
		return XDP_DROP;
	}
	bpf_ringbuf_submit(record, 0);
	return XDP_PASS;
}

LICENSED;
