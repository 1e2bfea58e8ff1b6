// SPDX-License-Identifier: Apache-2.0
// kind: irq-balance
#include "refusals.h"

SEC("tc")
int wrong(struct __sk_buff *skb)
{
	unsigned long flags;

	bpf_local_irq_save(&flags);
	// change:
	if (skb->mark == 7)
		return TC_ACT_SHOT;
	bpf_local_irq_restore(&flags);
	return TC_ACT_OK;
}

SEC("tc")
int right(struct __sk_buff *skb)
{
	unsigned long flags;
	int verdict = TC_ACT_OK;

	bpf_local_irq_save(&flags);
	if (skb->mark == 7)
		verdict = TC_ACT_SHOT;
	bpf_local_irq_restore(&flags);
	return verdict;
}

LICENSED;
