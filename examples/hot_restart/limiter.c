// SPDX-License-Identifier: Apache-2.0
//
// A service's door: each client is let in a number of times, and the service learns of
// each that it has not seen before. All that is known of clients lies in maps, so that a new process of the service goes on
// where the old one stops, if it has the same maps.
#include "skep_net.h"

struct client {
	__u64 served;
	__u64 refused;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __be32);
	__type(value, struct client);
} clients SEC(".maps");

// The addresses of new clients.
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 65536);
} arrivals SEC(".maps");

const volatile __u64 quota = 1000;

__u64 requests; // of all clients

static __always_inline struct client *arrive(__be32 addr)
{
	struct client none = {};
	__be32 *news;

	// Another CPU, or another process, may have been faster: then it tells of the client.
	if (bpf_map_update_elem(&clients, &addr, &none, BPF_NOEXIST) == 0) {
		news = bpf_ringbuf_reserve(&arrivals, sizeof(*news), 0);
		if (news) {
			*news = addr;
			bpf_ringbuf_submit(news, 0);
		}
	}
	return bpf_map_lookup_elem(&clients, &addr);
}

SEC("tc")
int limiter(struct __sk_buff *skb)
{
	struct client *c;
	struct iphdr ip;

	if (bpf_skb_load_bytes(skb, sizeof(struct ethhdr), &ip, sizeof(ip)))
		return TC_ACT_SHOT;
	__sync_fetch_and_add(&requests, 1);
	c = bpf_map_lookup_elem(&clients, &ip.saddr);
	if (!c)
		c = arrive(ip.saddr);
	if (!c) // too many clients
		return TC_ACT_SHOT;
	if (__sync_fetch_and_add(&c->served, 1) < quota)
		return TC_ACT_OK;
	__sync_fetch_and_add(&c->served, -1);
	__sync_fetch_and_add(&c->refused, 1);
	return TC_ACT_SHOT;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
