// SPDX-License-Identifier: Apache-2.0
// kind: format-string
#include "refusals.h"

SEC("tc")
int wrong(struct __sk_buff *skb)
{
	static const char format[] = "%f";
	char out[16] = {};
	__u64 args[1] = { skb->mark };

	// change:
	bpf_snprintf(out, sizeof(out), format, args, sizeof(args));
	return out[0] ? TC_ACT_OK : TC_ACT_SHOT;
}

SEC("tc")
int right(struct __sk_buff *skb)
{
	static const char format[] = "%d";
	char out[16] = {};
	__u64 args[1] = { skb->mark };

	bpf_snprintf(out, sizeof(out), format, args, sizeof(args));
	return out[0] ? TC_ACT_OK : TC_ACT_SHOT;
}

LICENSED;
