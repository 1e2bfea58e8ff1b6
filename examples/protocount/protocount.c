// SPDX-License-Identifier: Apache-2.0
//
// Bytes by IP protocol, as a socket filter: attached to a socket, it counts
// every packet and hands the socket the first snap bytes of IP packets only.
#include "skep_net.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 256);
	__type(key, __u32);
	__type(value, __u64);
} bytes_by_protocol SEC(".maps");

const volatile __u32 snap = 128; // bytes

SEC("socket")
int protocount(struct __sk_buff *skb)
{
	__u32 protocol;
	__u64 *bytes;

	if (skb->protocol == bpf_htons(ETH_P_IP))
		protocol = load_byte(skb, SKF_NET_OFF + offsetof(struct iphdr, protocol));
	else if (skb->protocol == bpf_htons(ETH_P_IPV6))
		protocol = load_byte(skb, SKF_NET_OFF + offsetof(struct ipv6hdr, nexthdr));
	else
		return 0; // not IP: the socket does not want it

	bytes = bpf_map_lookup_elem(&bytes_by_protocol, &protocol);
	if (bytes)
		__sync_fetch_and_add(bytes, skb->len);
	return snap;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
