// SPDX-License-Identifier: Apache-2.0
//
// The workloads as XDP programs. Those named NAME_in do the work a hundred times in one
// run: what it costs without entry and return.
#include "skep_bpf.h"
#include "core.h"

#define TURNS 100

#define BPF_MAP_TYPE_PROG_ARRAY 3
static long (*const bpf_tail_call)(void *ctx, void *map, __u32 index) = (void *)12;
#define BPF_RB_NO_WAKEUP 1

#define DATA ((const u8 *)(long)ctx->data)
#define END ((const u8 *)(long)ctx->data_end)

#define WORKLOAD(work)                                                       \
	SEC("xdp") int work##_once(struct xdp_md *ctx) { return work(DATA, END); }

#define INSIDE(work)                                                         \
	SEC("xdp") int work##_in(struct xdp_md *ctx)                         \
	{                                                                    \
		int sum = 0;                                                 \
		for (int i = 0; i < TURNS; i++) {                            \
			asm volatile("" : "+r"(ctx)::"memory");              \
			sum += work(DATA, END);                              \
		}                                                            \
		return sum;                                                  \
	}

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 256);
	__type(key, u32);
	__type(value, u64);
} counters SEC(".maps");

// count adds one to the IP protocol's counter.
INLINE u32 count(const u8 *at, const u8 *end)
{
	u64 *counter;
	u32 key;

	if (at + 34 > end)
		return PASS;
	key = at[23];
	counter = bpf_map_lookup_elem(&counters, &key);
	if (!counter)
		return DROP;
	__sync_fetch_and_add(counter, 1);
	return PASS;
}

WORKLOAD(empty)
WORKLOAD(parse)
WORKLOAD(fnv)
WORKLOAD(jhash)
WORKLOAD(count)
WORKLOAD(checksum)
INSIDE(empty)
INSIDE(parse)
INSIDE(count)
INSIDE(checksum)

// Which key comes next: every run takes another one, in an order caches do not foresee.
u32 turn;

struct route {
	u32 length; // bits
	u32 address;
};

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 100000);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct route);
	__type(value, u32);
} routes SEC(".maps");

// route drops or passes as the longest matching prefix of 100,000 says.
SEC("xdp") int route_once(struct xdp_md *ctx)
{
	struct route key = {.length = 32, .address = mix(turn++)};
	u32 *action = bpf_map_lookup_elem(&routes, &key);

	(void)ctx;
	return action ? *action : PASS;
}

#define FLOWS (1 << 20)

struct flow {
	u32 saddr, daddr;
	u16 sport, dport;
	u32 protocol;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, FLOWS);
	__type(key, struct flow);
	__type(value, u64);
} flows SEC(".maps");

// flow counts in a table of a million flows; those numbered FLOWS and up are not in it.
INLINE u32 flow(u32 first)
{
	u32 number = first + (mix(turn++) & (FLOWS - 1));
	struct flow key = {.saddr = number, .daddr = ~number, .sport = number, .dport = 443, .protocol = 6};
	u64 *packets = bpf_map_lookup_elem(&flows, &key);

	if (!packets)
		return PASS;
	__sync_fetch_and_add(packets, 1);
	return DROP;
}

SEC("xdp") int flow_hit(struct xdp_md *ctx) { (void)ctx; return flow(0); }
SEC("xdp") int flow_miss(struct xdp_md *ctx) { (void)ctx; return flow(FLOWS); }

// A chain of eight tail calls, from chain_once to link_7.
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 8);
	__uint(key_size, 4);
	__uint(value_size, 4);
} chain SEC(".maps");

#define LINK(n)                                                              \
	SEC("xdp") int link_##n(struct xdp_md *ctx)                          \
	{                                                                    \
		bpf_tail_call(ctx, &chain, n + 1);                           \
		return PASS;                                                 \
	}

LINK(0) LINK(1) LINK(2) LINK(3) LINK(4) LINK(5) LINK(6) LINK(7)

SEC("xdp") int chain_once(struct xdp_md *ctx)
{
	bpf_tail_call(ctx, &chain, 0);
	return DROP;
}

static long add(u32 i, u32 *sum)
{
	*sum = step(*sum, i);
	return 0;
}

// loop calls a callback a thousand times.
SEC("xdp") int loop_once(struct xdp_md *ctx)
{
	u32 sum = ctx->data_end - ctx->data;

	bpf_loop(1000, add, &sum, 0);
	return sum;
}

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 16 << 20);
} events SEC(".maps");

struct event {
	u32 saddr, daddr;
	u16 sport, dport;
	u32 length;
	u8 head[48];
};

// event sends 64 bytes about the packet to user space.
SEC("xdp") int event_once(struct xdp_md *ctx)
{
	const u8 *at = DATA, *end = END;
	struct event *event;

	if (at + 62 > end)
		return PASS;
	event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	if (!event)
		return DROP;
	event->saddr = load32(at + 26);
	event->daddr = load32(at + 30);
	event->sport = load16(at + 34);
	event->dport = load16(at + 36);
	event->length = end - at;
	memcpy(event->head, at + 14, sizeof(event->head));
	bpf_ringbuf_submit(event, BPF_RB_NO_WAKEUP);
	return PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
