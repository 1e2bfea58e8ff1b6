// SPDX-License-Identifier: Apache-2.0
// kind: return-value
#include "refusals.h"

SEC("cgroup_skb/ingress")
int wrong(struct __sk_buff *skb)
{
	if (skb->len < 64)
		return 1;
	skb->mark = 1;
	// change:
	asm volatile("r0 = 7; exit" ::: "r0"); // return 7;
	return 1;
}

SEC("cgroup_skb/ingress")
int right(struct __sk_buff *skb)
{
	if (skb->len < 64)
		return 1;
	skb->mark = 1;
	return 0;
}

LICENSED;
