// SPDX-License-Identifier: Apache-2.0
// kind: reference-leak
#include "refusals.h"

SEC("tc")
int wrong(struct __sk_buff *skb)
{
	struct bpf_sock_tuple tuple = {};
	struct bpf_sock *sk = bpf_sk_lookup_tcp(skb, &tuple, sizeof(tuple), 0, 0);
	__u32 mark;

	if (!sk)
		return TC_ACT_OK;
	mark = sk->mark;
	// change:
	if (mark == 7)
		return TC_ACT_SHOT;
	bpf_sk_release(sk);
	return TC_ACT_OK;
}

SEC("tc")
int right(struct __sk_buff *skb)
{
	struct bpf_sock_tuple tuple = {};
	struct bpf_sock *sk = bpf_sk_lookup_tcp(skb, &tuple, sizeof(tuple), 0, 0);
	__u32 mark;

	if (!sk)
		return TC_ACT_OK;
	mark = sk->mark;
	bpf_sk_release(sk);
	return mark == 7 ? TC_ACT_SHOT : TC_ACT_OK;
}

LICENSED;
