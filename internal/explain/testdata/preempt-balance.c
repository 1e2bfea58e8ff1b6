// SPDX-License-Identifier: Apache-2.0
// kind: preempt-balance
#include "refusals.h"

SEC("tc")
int wrong(struct __sk_buff *skb)
{
	bpf_preempt_disable();
	// change:
	if (skb->mark == 7)
		return TC_ACT_SHOT;
	bpf_preempt_enable();
	return TC_ACT_OK;
}

SEC("tc")
int right(struct __sk_buff *skb)
{
	int verdict = TC_ACT_OK;

	bpf_preempt_disable();
	if (skb->mark == 7)
		verdict = TC_ACT_SHOT;
	bpf_preempt_enable();
	return verdict;
}

LICENSED;
