// SPDX-License-Identifier: Apache-2.0
// kind: constant-string
#include "refusals.h"

SEC("tc")
int wrong(struct __sk_buff *skb)
{
	char text[8] = {}, want[8] = "abc";

	text[0] = skb->mark;
	// change:
	return bpf_strncmp(text, sizeof(text), want) ? TC_ACT_OK : TC_ACT_SHOT;
}

SEC("tc")
int right(struct __sk_buff *skb)
{
	static const char want[8] = "abc";
	char text[8] = {};

	text[0] = skb->mark;
	return bpf_strncmp(text, sizeof(text), want) ? TC_ACT_OK : TC_ACT_SHOT;
}

LICENSED;
