// SPDX-License-Identifier: Apache-2.0
// kind: function-call-argument
#include "refusals.h"

struct opaque;

// change:
__noinline int wrong_width(struct opaque *o)
{
	return o != NULL;
}

struct known {
	__u32 width;
};

__noinline int right_width(struct known *k)
{
	return k ? k->width : 0;
}

SEC("xdp")
int wrong(struct xdp_md *ctx)
{
	return wrong_width((void *)ctx) ? XDP_PASS : XDP_DROP;
}

SEC("xdp")
int right(struct xdp_md *ctx)
{
	struct known k = { 3 };

	return right_width(&k) ? XDP_PASS : XDP_DROP;
}

LICENSED;
