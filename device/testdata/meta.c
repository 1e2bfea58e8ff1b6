// SPDX-License-Identifier: Apache-2.0
//
// Notes what a packet carries beside its bytes from hook to hook. Made by
//
//	clang-19 -O2 -g -target bpfel -I../../examples/include -c meta.c -o meta.o && llvm-strip-19 -g meta.o
#include "skep_net.h"

struct seen {
	__u32 times;
	__u32 mark, priority, tc_index, queue, classid;
	__u32 cb[5];
	__u32 type, vlan;
	__u32 len, wire_len, stamped;
	__u32 tunnel; // id of the tunnel the packet is to enter, ~0 for none
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, struct seen);
} seen SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, __u32);
} next SEC(".maps");

static long (*const bpf_redirect)(__u32 ifindex, __u64 flags) = (void *)23;

struct bpf_tunnel_key {
	__u32 tunnel_id;
	__u32 remote[4];
	__u8 tos, ttl;
	__u16 ext;
	__u32 label;
	__u32 local[4];
};

static long (*const bpf_skb_get_tunnel_key)(struct __sk_buff *skb, struct bpf_tunnel_key *key, __u32 size, __u64 flags) = (void *)20;
static long (*const bpf_skb_set_tunnel_key)(struct __sk_buff *skb, struct bpf_tunnel_key *key, __u32 size, __u64 flags) = (void *)21;

#define LOCAL 0xb588 // 0x88b5 in network order

static __always_inline int note(struct __sk_buff *skb, __u32 where)
{
	struct seen *s = bpf_map_lookup_elem(&seen, &where);
	struct bpf_tunnel_key key = {};

	if (!s || skb->protocol != LOCAL)
		return 0;
	s->times++;
	s->mark = skb->mark;
	s->priority = skb->priority;
	s->tc_index = skb->tc_index;
	s->queue = skb->queue_mapping;
	s->classid = skb->tc_classid;
	s->cb[0] = skb->cb[0];
	s->cb[1] = skb->cb[1];
	s->cb[2] = skb->cb[2];
	s->cb[3] = skb->cb[3];
	s->cb[4] = skb->cb[4];
	s->type = skb->pkt_type;
	s->vlan = skb->vlan_present;
	s->len = skb->len;
	s->wire_len = *(__u32 *)((void *)skb + 160);
	s->stamped = *(__u64 *)((void *)skb + 152) != 0;
	s->tunnel = bpf_skb_get_tunnel_key(skb, &key, sizeof(key), 0) ? ~0 : key.tunnel_id;

	key.tunnel_id = 0x90 + where;
	key.remote[0] = 0x0100000a;
	key.ttl = 64;
	bpf_skb_set_tunnel_key(skb, &key, sizeof(key), 0);
	skb->mark += 0x10 + where;
	skb->priority = 0x20 + where;
	skb->tc_index = 0x30 + where;
	skb->queue_mapping = 1;
	skb->cb[0] = 0x40 + where;
	skb->cb[1] = 0x50 + where;
	skb->cb[2] = 0x60 + where;
	skb->cb[3] = 0x70 + where;
	skb->cb[4] = 0x80 + where;
	return 1;
}

static __always_inline int to(__u32 where, __u64 flags)
{
	__u32 *ifindex = bpf_map_lookup_elem(&next, &where);

	return ifindex ? bpf_redirect(*ifindex, flags) : TC_ACT_SHOT;
}

// in: out of another device.
SEC("tc")
int in(struct __sk_buff *skb)
{
	return note(skb, 0) ? to(0, 0) : TC_ACT_OK;
}

// out: over the cable.
SEC("tc")
int out(struct __sk_buff *skb)
{
	note(skb, 1);
	return TC_ACT_OK;
}

// far: into another device.
SEC("tc")
int far(struct __sk_buff *skb)
{
	return note(skb, 2) ? to(2, 1) : TC_ACT_OK;
}

SEC("tc")
int end(struct __sk_buff *skb)
{
	return note(skb, 3) ? TC_ACT_SHOT : TC_ACT_OK;
}

char LICENSE[] SEC("license") = "GPL";
