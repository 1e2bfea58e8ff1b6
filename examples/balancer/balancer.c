// SPDX-License-Identifier: Apache-2.0
//
// A layer-4 load balancer in the manner of Katran: packets to a virtual address
// go, wrapped in another IP header, to one of its real servers. Which one, a
// consistent hashing ring says to a connection's first packet and a connection
// table to the ones after it, so that a change of the ring moves no open connection.
#include "skep_net.h"

#define MAX_VIPS 16
#define MAX_REALS 64
#define RING_SIZE 251 // a prime: entries per virtual address

enum real_flags {
	REAL_IPV6 = 1, // the real server's address is IPv6
	REAL_GUE = 2, // wrap in UDP as well, so that routers spread the load
};

#define GUE_PORT 6080
#define OUTER_TTL 64

// Destination a packet must have. IPv4 addresses are mapped into IPv6's here and below.
struct vip {
	struct in6_addr addr;
	__u16 port;
	__u8 protocol;
	__u8 pad;
};

struct vip_info {
	__u32 number; // its place in the ring: number * RING_SIZE
	__u32 flags;
};

struct real {
	struct in6_addr addr;
	__u32 flags; // enum real_flags
};

struct flow {
	struct in6_addr saddr;
	struct in6_addr daddr;
	__u16 sport;
	__u16 dport;
	__u8 protocol;
	__u8 pad[3];
};

struct counter {
	__u64 packets;
	__u64 bytes;
};

// What became of packets; the key of events.
enum event {
	EVENT_NEW = 0, // the ring chose
	EVENT_KNOWN = 1, // the connection table knew
	EVENT_ECHO = 2, // a ping answered
	EVENT_NO_REAL = 3, // the ring names no server
	EVENT_REFUSED = 4, // fragments, options, cut packets
	EVENTS,
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_VIPS);
	__type(key, struct vip);
	__type(value, struct vip_info);
} vips SEC(".maps");

// Server 0 stands for none.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_VIPS * RING_SIZE);
	__type(key, __u32);
	__type(value, __u32);
} ring SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_REALS);
	__type(key, __u32);
	__type(value, struct real);
} reals SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct flow);
	__type(value, __u32); // the real server's number
} connections SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, MAX_REALS);
	__type(key, __u32);
	__type(value, struct counter);
} by_real SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, EVENTS);
	__type(key, __u32);
	__type(value, __u64);
} by_event SEC(".maps");

// Where wrapped packets go: the router's address on the wire.
const volatile __u8 router[6] = {0x02, 0, 0, 0, 0, 0xfe};

static __always_inline int count(__u32 event, int action)
{
	__u64 *n = bpf_map_lookup_elem(&by_event, &event);

	if (n)
		(*n)++;
	return action;
}

// hash mixes the flow's words: multiply, rotate, add, and stir the end well.
static __always_inline __u32 hash(const struct flow *flow)
{
	const __u32 *word = (const void *)flow;
	__u32 h = 0x9e3779b9;

#pragma unroll
	for (unsigned i = 0; i < sizeof(*flow) / 4; i++) {
		h ^= word[i] * 0xcc9e2d51;
		h = (h << 13 | h >> 19) * 5 + 0xe6546b64;
	}
	h = (h ^ h >> 16) * 0x85ebca6b;
	h = (h ^ h >> 13) * 0xc2b2ae35;
	return h ^ h >> 16;
}

// fold makes an Internet checksum of a sum of half words.
static __always_inline __sum16 fold(__u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

static __always_inline __sum16 ip_checksum(struct iphdr *ip)
{
	__u16 *half = (void *)ip;
	__u32 sum = 0;

#pragma unroll
	for (unsigned i = 0; i < sizeof(*ip) / 2; i++)
		sum += half[i];
	return fold(sum);
}

static __always_inline void swap(__u8 *a, __u8 *b, int n)
{
#pragma unroll
	for (int i = 0; i < n; i++) {
		__u8 t = a[i];

		a[i] = b[i];
		b[i] = t;
	}
}

// answer turns an echo request into its reply and sends it back.
static __always_inline int answer(struct ethhdr *eth, __u8 *saddr, __u8 *daddr, int size, struct icmphdr *icmp, __u8 reply)
{
	__u32 sum = (__u16)~icmp->checksum;

	// The checksum loses the old type and gains the new one.
	sum += (__u16)~icmp->type + reply;
	icmp->checksum = fold(sum);
	icmp->type = reply;
	swap(eth->h_dest, eth->h_source, 6);
	swap(saddr, daddr, size);
	return count(EVENT_ECHO, XDP_TX);
}

// choose finds the real server of a flow to the virtual address info.
static __always_inline struct real *choose(const struct flow *flow, const struct vip_info *info, int opening, __u32 *number)
{
	__u32 slot, *known;

	if (!opening) {
		known = bpf_map_lookup_elem(&connections, flow);
		if (known) {
			*number = *known;
			count(EVENT_KNOWN, 0);
			return bpf_map_lookup_elem(&reals, number);
		}
	}
	slot = info->number * RING_SIZE + hash(flow) % RING_SIZE;
	known = bpf_map_lookup_elem(&ring, &slot);
	if (!known || !*known)
		return NULL;
	*number = *known;
	bpf_map_update_elem(&connections, flow, number, BPF_ANY);
	count(EVENT_NEW, 0);
	return bpf_map_lookup_elem(&reals, number);
}

// outer4 writes the outer IPv4 header: 172.16/16 and the flow's hash as source.
static __always_inline void outer4(struct iphdr *ip, const struct real *real, __u16 payload, __u8 protocol, __u32 h)
{
	memset(ip, 0, sizeof(*ip));
	ip->version = 4;
	ip->ihl = 5;
	ip->tot_len = bpf_htons(sizeof(*ip) + payload);
	ip->ttl = OUTER_TTL;
	ip->protocol = protocol;
	ip->saddr = bpf_htonl(0xac100000) | (h & 0xffff) << 16;
	ip->daddr = real->addr.s6_addr32[3];
	ip->check = ip_checksum(ip);
}

// outer6 writes the outer IPv6 header: 100::/64 and the flow's hash as source.
static __always_inline void outer6(struct ipv6hdr *ip, const struct real *real, __u16 payload, __u8 protocol, __u32 h)
{
	memset(ip, 0, sizeof(*ip));
	ip->version = 6;
	ip->payload_len = bpf_htons(payload);
	ip->nexthdr = protocol;
	ip->hop_limit = OUTER_TTL;
	ip->saddr.s6_addr[0] = 1;
	ip->saddr.s6_addr32[3] = h;
	ip->daddr = real->addr;
}

// gue writes the UDP header between the outer and the inner one.
static __always_inline void gue(struct udphdr *udp, __u16 payload, __u32 h)
{
	udp->source = (__be16)(h | 0x80);
	udp->dest = bpf_htons(GUE_PORT);
	udp->len = bpf_htons(sizeof(*udp) + payload);
	udp->check = 0;
}

// wrap puts outer headers before an IP packet of the given length and sends it to the router.
//
//	Ethernet │ IP               → Ethernet │ outer IP │ IP …
//	Ethernet │ IP, REAL_GUE     → Ethernet │ outer IP │ UDP │ IP …
static __always_inline int wrap(struct xdp_md *ctx, const struct real *real, __u16 length, __u8 inner, __u32 h)
{
	int ipv6 = real->flags & REAL_IPV6, udp = real->flags & REAL_GUE;
	int outer = (ipv6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr)) + (udp ? sizeof(struct udphdr) : 0);
	__u8 protocol = udp ? IPPROTO_UDP : inner;
	struct ethhdr *eth, *old;
	void *data, *data_end, *l3;

	if (bpf_xdp_adjust_head(ctx, -outer))
		return XDP_DROP;
	data = (void *)(long)ctx->data;
	data_end = (void *)(long)ctx->data_end;
	eth = data;
	// Room for the largest headers: what was wrapped is at least an IP header long.
	if (data + sizeof(*eth) + sizeof(struct ipv6hdr) + sizeof(struct udphdr) > data_end)
		return XDP_DROP;
	l3 = eth + 1;
	old = data + outer;
	if ((void *)(old + 1) > data_end)
		return XDP_DROP;
	memcpy(eth->h_source, old->h_dest, 6);
#pragma unroll
	for (int i = 0; i < 6; i++)
		eth->h_dest[i] = router[i];

	if (ipv6) {
		eth->h_proto = bpf_htons(ETH_P_IPV6);
		outer6(l3, real, length + outer - sizeof(struct ipv6hdr), protocol, h);
		if (udp)
			gue(l3 + sizeof(struct ipv6hdr), length, h);
	} else {
		eth->h_proto = bpf_htons(ETH_P_IP);
		outer4(l3, real, length + outer - sizeof(struct iphdr), protocol, h);
		if (udp)
			gue(l3 + sizeof(struct iphdr), length, h);
	}
	return XDP_TX;
}

// balance sends a parsed packet on: length and inner are its IP length and what it is to an outer header.
static __always_inline int balance(struct xdp_md *ctx, struct flow *flow, void *l4, __u16 length, __u8 inner)
{
	void *data_end = (void *)(long)ctx->data_end;
	struct udphdr *ports = l4;
	struct tcphdr *tcp = l4;
	struct vip vip = {};
	struct counter *traffic;
	struct vip_info *info;
	struct real *real;
	int opening = 0;
	__u32 number;

	if ((void *)(ports + 1) > data_end)
		return count(EVENT_REFUSED, XDP_DROP);
	if (flow->protocol == IPPROTO_TCP) {
		if ((void *)(tcp + 1) > data_end)
			return count(EVENT_REFUSED, XDP_DROP);
		opening = tcp->syn;
	}
	flow->sport = bpf_ntohs(ports->source);
	flow->dport = bpf_ntohs(ports->dest);

	vip.addr = flow->daddr;
	vip.port = flow->dport;
	vip.protocol = flow->protocol;
	info = bpf_map_lookup_elem(&vips, &vip);
	if (!info)
		return XDP_PASS; // not ours
	real = choose(flow, info, opening, &number);
	if (!real)
		return count(EVENT_NO_REAL, XDP_DROP);
	traffic = bpf_map_lookup_elem(&by_real, &number);
	if (traffic) {
		traffic->packets++;
		traffic->bytes += length;
	}
	return wrap(ctx, real, length, inner, hash(flow));
}

static __always_inline int balance4(struct xdp_md *ctx, struct ethhdr *eth, void *data_end)
{
	struct iphdr *ip = (void *)(eth + 1);
	struct icmphdr *icmp = (void *)(ip + 1);
	struct flow flow = {};

	if ((void *)(ip + 1) > data_end || ip->ihl != 5)
		return count(EVENT_REFUSED, XDP_DROP);
	if (ip->frag_off & bpf_htons(IP_MF | IP_OFFSET))
		return count(EVENT_REFUSED, XDP_DROP);
	if (ip->protocol == IPPROTO_ICMP) {
		if ((void *)(icmp + 1) > data_end || icmp->type != 8 || icmp->code)
			return XDP_PASS;
		return answer(eth, (void *)&ip->saddr, (void *)&ip->daddr, 4, icmp, 0);
	}
	if (ip->protocol != IPPROTO_TCP && ip->protocol != IPPROTO_UDP)
		return XDP_PASS;
	map4(&flow.saddr, ip->saddr);
	map4(&flow.daddr, ip->daddr);
	flow.protocol = ip->protocol;
	return balance(ctx, &flow, ip + 1, bpf_ntohs(ip->tot_len), IPPROTO_IPIP);
}

static __always_inline int balance6(struct xdp_md *ctx, struct ethhdr *eth, void *data_end)
{
	struct ipv6hdr *ip = (void *)(eth + 1);
	struct icmphdr *icmp = (void *)(ip + 1);
	struct flow flow = {};

	if ((void *)(ip + 1) > data_end)
		return count(EVENT_REFUSED, XDP_DROP);
	if (ip->nexthdr == IPPROTO_ICMPV6) {
		if ((void *)(icmp + 1) > data_end || icmp->type != 128 || icmp->code)
			return XDP_PASS;
		return answer(eth, ip->saddr.s6_addr, ip->daddr.s6_addr, 16, icmp, 129);
	}
	if (ip->nexthdr != IPPROTO_TCP && ip->nexthdr != IPPROTO_UDP)
		return XDP_PASS;
	flow.saddr = ip->saddr;
	flow.daddr = ip->daddr;
	flow.protocol = ip->nexthdr;
	return balance(ctx, &flow, ip + 1, sizeof(*ip) + bpf_ntohs(ip->payload_len), IPPROTO_IPV6);
}

SEC("xdp")
int balancer(struct xdp_md *ctx)
{
	void *data_end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = (void *)(long)ctx->data;

	if ((void *)(eth + 1) > data_end)
		return count(EVENT_REFUSED, XDP_DROP);
	if (eth->h_proto == bpf_htons(ETH_P_IP))
		return balance4(ctx, eth, data_end);
	if (eth->h_proto == bpf_htons(ETH_P_IPV6))
		return balance6(ctx, eth, data_end);
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
