// SPDX-License-Identifier: Apache-2.0
// kind: ctx-modified
#include "refusals.h"

SEC("tc")
int wrong(struct __sk_buff *skb)
{
	__u32 i = skb->queue_mapping & 3;

	// change:
	return skb->cb[i] ? TC_ACT_OK : TC_ACT_SHOT;
}

SEC("tc")
int right(struct __sk_buff *skb)
{
	return skb->cb[2] ? TC_ACT_OK : TC_ACT_SHOT;
}

LICENSED;
