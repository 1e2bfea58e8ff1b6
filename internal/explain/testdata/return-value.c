// SPDX-License-Identifier: Apache-2.0
// kind: return-value
#include "refusals.h"

SEC("cgroup_skb/ingress")
int wrong(struct __sk_buff *skb)
{
	// change:
	return skb->len;
}

SEC("cgroup_skb/ingress")
int right(struct __sk_buff *skb)
{
	return skb->len > 0;
}

LICENSED;
