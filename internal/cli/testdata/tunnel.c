// SPDX-License-Identifier: Apache-2.0
//
// Sets the key of packets that go into a tunnel, and prints that of those that come out of one.
#include "../../../examples/include/skep_net.h"

struct bpf_tunnel_key {
	__u32 tunnel_id;
	__u32 remote_ipv4, unused[3];
	__u8 tunnel_tos, tunnel_ttl;
	__u16 tunnel_ext;
	__u32 tunnel_label;
	__u32 local_ipv4, unused_too[3];
};

static long (*const bpf_skb_get_tunnel_key)(struct __sk_buff *skb, struct bpf_tunnel_key *key, __u32 size, __u64 flags) = (void *)20;
static long (*const bpf_skb_set_tunnel_key)(struct __sk_buff *skb, struct bpf_tunnel_key *key, __u32 size, __u64 flags) = (void *)21;
static long (*const bpf_skb_get_tunnel_opt)(struct __sk_buff *skb, void *opt, __u32 size) = (void *)29;
static long (*const bpf_skb_set_tunnel_opt)(struct __sk_buff *skb, void *opt, __u32 size) = (void *)30;

SEC("set")
int enter(struct __sk_buff *skb)
{
	struct bpf_tunnel_key key = {.tunnel_id = 42, .remote_ipv4 = 0x0a000002, .local_ipv4 = 0x0a000001, .tunnel_ttl = 9};
	__u32 opt[2] = {0x01000101, 0x04030201}; // a class, a type and 4 bytes

	if (bpf_skb_set_tunnel_key(skb, &key, sizeof(key), 0) || bpf_skb_set_tunnel_opt(skb, opt, sizeof(opt)))
		return TC_ACT_SHOT;
	return TC_ACT_OK;
}

SEC("get")
int leave(struct __sk_buff *skb)
{
	struct bpf_tunnel_key key = {};
	__u32 opt[2] = {};

	if (bpf_skb_get_tunnel_key(skb, &key, sizeof(key), 0))
		return TC_ACT_SHOT;
	bpf_skb_get_tunnel_opt(skb, opt, sizeof(opt));
	bpf_printk("%d from %x, %x", key.tunnel_id, key.remote_ipv4, opt[1]);
	return 1; // the class of what goes on
}

char LICENSE[] SEC("license") = "GPL";
