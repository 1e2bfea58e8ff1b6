// SPDX-License-Identifier: Apache-2.0
// kind: not-owned
#include "refusals.h"

struct event {
	__u64 time;
	char text[8];
};
MAP_RING(ring);

SEC("xdp")
int wrong(struct xdp_md *ctx)
{
	struct event *e = bpf_ringbuf_reserve(&ring, sizeof(*e), 0);

	if (!e)
		return XDP_PASS;
	e->time = 0;
	// change:
	bpf_ringbuf_submit(&e->text, 0);
	return XDP_PASS;
}

SEC("xdp")
int right(struct xdp_md *ctx)
{
	struct event *e = bpf_ringbuf_reserve(&ring, sizeof(*e), 0);

	if (!e)
		return XDP_PASS;
	e->time = 0;
	bpf_ringbuf_submit(e, 0);
	return XDP_PASS;
}

LICENSED;
