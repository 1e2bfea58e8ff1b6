// SPDX-License-Identifier: Apache-2.0
// kind: rcu-balance
#include "refusals.h"

SEC("tc")
int wrong(struct __sk_buff *skb)
{
	bpf_rcu_read_lock();
	// change:
	if (skb->mark == 7)
		return TC_ACT_SHOT;
	bpf_rcu_read_unlock();
	return TC_ACT_OK;
}

SEC("tc")
int right(struct __sk_buff *skb)
{
	int verdict = TC_ACT_OK;

	bpf_rcu_read_lock();
	if (skb->mark == 7)
		verdict = TC_ACT_SHOT;
	bpf_rcu_read_unlock();
	return verdict;
}

LICENSED;
