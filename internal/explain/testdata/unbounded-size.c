// SPDX-License-Identifier: Apache-2.0
// kind: unbounded-size
#include "refusals.h"

MAP_RING(ring);

SEC("xdp")
int wrong(struct xdp_md *ctx)
{
	char buf[64] = {};
	__u64 n = bpf_ktime_get_ns() >> 1;

	// change:
	bpf_ringbuf_output(&ring, buf, n, 0);
	return XDP_PASS;
}

SEC("xdp")
int right(struct xdp_md *ctx)
{
	char buf[64] = {};
	__u64 n = bpf_ktime_get_ns() >> 1;

	if (n > 64)
		return XDP_PASS;
	bpf_ringbuf_output(&ring, buf, n, 0);
	return XDP_PASS;
}

LICENSED;
