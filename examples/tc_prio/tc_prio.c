// SPDX-License-Identifier: Apache-2.0
//
// Sets a packet's priority from its traffic class and traces the choice. The
// class is the sender's control group's (net_cls.classid) or, where there is
// none, the destination port's in the table.
#include "skep_net.h"

// A class id is major:minor, 16 bits each, as tc writes it: 1:10 is 0x10010.
#define CLASS_MINOR(id) ((id) & 0xffff)

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 256);
	__type(key, __u16); // destination port
	__type(value, __u32); // class id
} class_by_port SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 8);
	__type(key, __u32); // priority
	__type(value, __u64); // bytes
} bytes_by_priority SEC(".maps");

const volatile __u32 default_class = 0x10003;

// port returns the destination port of TCP or UDP over IPv4 without options, or 0.
static __always_inline __u16 port(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data;
	void *data_end = (void *)(long)skb->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = (void *)(eth + 1);
	struct udphdr *ports = (void *)(ip + 1);

	if ((void *)(ports + 1) > data_end || eth->h_proto != bpf_htons(ETH_P_IP) || ip->ihl != 5)
		return 0;
	if (ip->protocol != IPPROTO_TCP && ip->protocol != IPPROTO_UDP)
		return 0;
	return bpf_ntohs(ports->dest);
}

SEC("tc")
int tc_prio(struct __sk_buff *skb)
{
	__u32 class = bpf_get_cgroup_classid(skb);
	__u16 dport = port(skb);
	__u32 priority;
	__u64 *bytes;

	if (!class) {
		__u32 *listed = bpf_map_lookup_elem(&class_by_port, &dport);

		class = listed ? *listed : default_class;
	}
	priority = CLASS_MINOR(class) & 7;
	skb->tc_classid = class;
	skb->priority = priority;
	bpf_printk("port %u: class %x, priority %u", dport, class, priority);

	bytes = bpf_map_lookup_elem(&bytes_by_priority, &priority);
	if (bytes)
		__sync_fetch_and_add(bytes, skb->len);
	return TC_ACT_OK;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
