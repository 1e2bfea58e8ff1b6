// SPDX-License-Identifier: Apache-2.0
// kind: read-only-memory
#include "refusals.h"

SEC("tc")
int wrong(struct __sk_buff *skb)
{
	struct bpf_sock_tuple tuple = {};
	struct bpf_sock *sk = bpf_sk_lookup_tcp(skb, &tuple, sizeof(tuple), 0, 0);

	if (!sk)
		return TC_ACT_OK;
	// change:
	sk->mark = 1;
	bpf_sk_release(sk);
	return TC_ACT_OK;
}

SEC("tc")
int right(struct __sk_buff *skb)
{
	struct bpf_sock_tuple tuple = {};
	struct bpf_sock *sk = bpf_sk_lookup_tcp(skb, &tuple, sizeof(tuple), 0, 0);

	if (!sk)
		return TC_ACT_OK;
	skb->mark = sk->mark;
	bpf_sk_release(sk);
	return TC_ACT_OK;
}

LICENSED;
