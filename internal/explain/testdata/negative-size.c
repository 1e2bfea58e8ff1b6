// SPDX-License-Identifier: Apache-2.0
// kind: negative-size
#include "refusals.h"

ARRAY(lengths, signed char);
MAP_RING(ring);

SEC("xdp")
int wrong(struct xdp_md *ctx)
{
	char buf[64] = {};
	__u32 key = 0;
	signed char *length = bpf_map_lookup_elem(&lengths, &key);

	if (!length)
		return XDP_PASS;
	long n = *length;
	// change:
	if (n > 64)
		return XDP_PASS;
	bpf_ringbuf_output(&ring, buf, n, 0);
	return XDP_PASS;
}

SEC("xdp")
int right(struct xdp_md *ctx)
{
	char buf[64] = {};
	__u32 key = 0;
	signed char *length = bpf_map_lookup_elem(&lengths, &key);

	if (!length)
		return XDP_PASS;
	long n = *length;
	if (n < 0 || n > 64)
		return XDP_PASS;
	bpf_ringbuf_output(&ring, buf, n, 0);
	return XDP_PASS;
}

LICENSED;
