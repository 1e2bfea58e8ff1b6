// SPDX-License-Identifier: Apache-2.0
//
// Prints, for each packet that comes in, how much has left so far.
#include "shared.h"

SEC("tc")
int print(struct __sk_buff *skb)
{
	__u32 key = 0;
	struct traffic *t = bpf_map_lookup_elem(&shared, &key);

	if (t)
		bpf_printk("%llu packets, %llu bytes have left", t->packets, t->bytes);
	return TC_ACT_OK;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
