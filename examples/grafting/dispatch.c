// SPDX-License-Identifier: Apache-2.0
//
// Jumps to whatever program is in the array, and counts the packets that find none.
#include "grafting.h"

SEC("tc")
int dispatch(struct __sk_buff *skb)
{
	bpf_tail_call(skb, &jump, 0);
	served(NOBODY);
	return TC_ACT_OK;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
