// SPDX-License-Identifier: Apache-2.0
// kind: reference-leak
#include "refusals.h"

MAP_RING(ring);

SEC("xdp")
int wrong(struct xdp_md *ctx)
{
	struct bpf_dynptr record;
	__u64 now = bpf_ktime_get_ns();

	// Also when the reservation fails, the dynptr has to be given back.
	// change:
	if (bpf_ringbuf_reserve_dynptr(&ring, sizeof(now), 0, &record))
		return XDP_DROP;
	bpf_dynptr_write(&record, 0, &now, sizeof(now), 0);
	bpf_ringbuf_submit_dynptr(&record, 0);
	return XDP_PASS;
}

SEC("xdp")
int right(struct xdp_md *ctx)
{
	struct bpf_dynptr record;
	__u64 now = bpf_ktime_get_ns();

	if (bpf_ringbuf_reserve_dynptr(&ring, sizeof(now), 0, &record)) {
		bpf_ringbuf_discard_dynptr(&record, 0);
		return XDP_DROP;
	}
	bpf_dynptr_write(&record, 0, &now, sizeof(now), 0);
	bpf_ringbuf_submit_dynptr(&record, 0);
	return XDP_PASS;
}

LICENSED;
