// SPDX-License-Identifier: Apache-2.0
// kind: stale-packet-pointer
#include "refusals.h"

__noinline int grow(struct __sk_buff *skb)
{
	return bpf_skb_pull_data(skb, 64);
}

SEC("tc")
int wrong(struct __sk_buff *skb)
{
	void *data_end = (void *)(long)skb->data_end;
	struct ethhdr *eth = (void *)(long)skb->data;

	if ((void *)(eth + 1) > data_end)
		return TC_ACT_SHOT;
	// change:
	grow(skb);
	return eth->h_proto == bpf_htons(ETH_P_IP) ? TC_ACT_OK : TC_ACT_SHOT;
}

SEC("tc")
int right(struct __sk_buff *skb)
{
	void *data_end;
	struct ethhdr *eth;

	grow(skb);
	data_end = (void *)(long)skb->data_end;
	eth = (void *)(long)skb->data;
	if ((void *)(eth + 1) > data_end)
		return TC_ACT_SHOT;
	return eth->h_proto == bpf_htons(ETH_P_IP) ? TC_ACT_OK : TC_ACT_SHOT;
}

LICENSED;
