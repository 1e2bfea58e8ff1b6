// SPDX-License-Identifier: Apache-2.0
//
// Counts what leaves a device in a map that another object reads.
#include "shared.h"

SEC("tc")
int count(struct __sk_buff *skb)
{
	__u32 key = 0;
	struct traffic *t = bpf_map_lookup_elem(&shared, &key);

	if (t) {
		__sync_fetch_and_add(&t->packets, 1);
		__sync_fetch_and_add(&t->bytes, skb->len);
	}
	return TC_ACT_OK;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
