// SPDX-License-Identifier: Apache-2.0
// kind: ctx-write
#include "refusals.h"

SEC("tc")
int wrong(struct __sk_buff *skb)
{
	// change:
	skb->protocol = bpf_htons(ETH_P_IP);
	return TC_ACT_OK;
}

SEC("tc")
int right(struct __sk_buff *skb)
{
	skb->mark = 1;
	return TC_ACT_OK;
}

LICENSED;
