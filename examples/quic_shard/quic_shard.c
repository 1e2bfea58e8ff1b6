// SPDX-License-Identifier: Apache-2.0
//
// QUIC workers that share a port: a packet goes to the worker its connection ID
// names, wherever it comes from, so that a client whose address changes (a phone
// that leaves the house) keeps its connection. NGINX's workers do the same.
//
// A worker begins the connection IDs it gives out with a byte that is its number,
// modulo the number of workers. A client that is new makes one up: whichever worker its
// first byte falls on gets all of the client's first packets.
#include "skep_bpf.h"

#define MAX_WORKERS 64
#define UDP_HEADER 8

// The packet's first bytes (RFC 9000, 17.2 and 17.3):
//
//	long header   1xxxxxxx  version (4)  DCID length  DCID …
//	short header  0xxxxxxx  DCID …
#define LONG_HEADER 0x80
#define MAX_CID 20

enum {
	LONG,      // by the connection ID of a long header
	SHORT,     // by that of a short header
	NOBODY,    // the worker is gone: left to the group's hash
	MALFORMED, // no QUIC: dropped
	COUNTERS,
};

struct {
	__uint(type, BPF_MAP_TYPE_REUSEPORT_SOCKARRAY);
	__uint(max_entries, MAX_WORKERS);
	__type(key, __u32);
	__type(value, __u64);
} workers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, COUNTERS);
	__type(key, __u32);
	__type(value, __u64);
} counters SEC(".maps");

const volatile __u32 nr_workers = 4;

static __always_inline int count(__u32 what, int verdict)
{
	__u64 *n = bpf_map_lookup_elem(&counters, &what);

	if (n)
		(*n)++;
	return verdict;
}

SEC("sk_reuseport")
int quic_shard(struct sk_reuseport_md *ctx)
{
	__u8 first, len, cid;
	__u32 worker, at = UDP_HEADER + 1, kind = SHORT;

	if (bpf_skb_load_bytes(ctx, UDP_HEADER, &first, 1))
		return count(MALFORMED, SK_DROP);
	if (first & LONG_HEADER) {
		kind = LONG;
		if (bpf_skb_load_bytes(ctx, UDP_HEADER + 5, &len, 1) || len == 0 || len > MAX_CID)
			return count(MALFORMED, SK_DROP);
		at = UDP_HEADER + 6;
	}
	if (bpf_skb_load_bytes(ctx, at, &cid, 1) || nr_workers == 0)
		return count(MALFORMED, SK_DROP);
	worker = cid % nr_workers;
	if (bpf_sk_select_reuseport(ctx, &workers, &worker, 0))
		return count(NOBODY, SK_PASS);
	return count(kind, SK_PASS);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
