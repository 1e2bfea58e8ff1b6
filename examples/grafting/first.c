// SPDX-License-Identifier: Apache-2.0
//
// One of two programs that take each other's place in the array.
#include "grafting.h"

SEC("tc")
int first(struct __sk_buff *skb)
{
	served(FIRST);
	return TC_ACT_OK;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
