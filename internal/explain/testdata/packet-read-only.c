// SPDX-License-Identifier: Apache-2.0
// kind: packet-read-only
#include "refusals.h"

SEC("cgroup_skb/ingress")
int wrong(struct __sk_buff *skb)
{
	__u8 *data_end = (void *)(long)skb->data_end;
	__u8 *data = (void *)(long)skb->data;

	if (data + 1 > data_end)
		return 1;
	// change:
	data[0] = 0;
	return 1;
}

SEC("cgroup_skb/ingress")
int right(struct __sk_buff *skb)
{
	__u8 *data_end = (void *)(long)skb->data_end;
	__u8 *data = (void *)(long)skb->data;

	if (data + 1 > data_end)
		return 1;
	return data[0] != 0;
}

LICENSED;
