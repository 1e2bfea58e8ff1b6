// SPDX-License-Identifier: Apache-2.0
//
// A program that does what a frame's byte says, and programs that note the events of it. Made by
//
//	clang-19 -O2 -g -target bpfel -mcpu=v3 -I../../examples/include -c events.c -o events.o && llvm-strip-19 -g events.o
#include "skep_net.h"

#define DEVICE (1U << 31) // in a key of mine: it is a device
#define PRESERVE __attribute__((preserve_access_index))
enum {
	BPF_MAP_TYPE_DEVMAP = 14,
	BPF_MAP_TYPE_CPUMAP = 16,
};

#define OWN 0xb688 // 0x88b6 in network order

struct net_device {
	int ifindex;
} PRESERVE;
struct bpf_prog_aux {
	__u32 id;
} PRESERVE;
struct bpf_prog {
	struct bpf_prog_aux *aux;
} PRESERVE;
struct sk_buff {
	struct net_device *dev;
	unsigned int len, data_len;
	__be16 protocol;
} PRESERVE;

struct event {
	__u32 kind; // 0: none
	__u32 prog, ifindex;
	__s32 v[6];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 256);
	__type(key, __u32);
	__type(value, struct event);
} events SEC(".maps");

// How many events were noted, and how often each program ran that is not at one.
enum { NOTED, RAN, ENTRY, ONCPU };
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, __u32);
} counts SEC(".maps");

// The ids of programs, and the indexes of devices with DEVICE, whose events count.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8);
	__type(key, __u32);
	__type(value, __u32);
} mine SEC(".maps");

// Devices to send to: one that is up, one that is down.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u32);
} to SEC(".maps");

struct entry {
	__u32 at, prog;
};

// Entries 0: up, 1: down, 2: up, with a program; 3: none.
struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, struct entry);
} devs SEC(".maps"), nobody SEC(".maps");

// Entry 0 has a program.
struct {
	__uint(type, BPF_MAP_TYPE_CPUMAP);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, struct entry);
} cpus SEC(".maps");

static long (*const bpf_redirect)(__u32 ifindex, __u64 flags) = (void *)23;
static long (*const bpf_probe_read_kernel)(void *dst, __u32 size, const void *p) = (void *)113;

static __always_inline __u32 count(__u32 which)
{
	__u32 *n = bpf_map_lookup_elem(&counts, &which);
	return n ? __sync_fetch_and_add(n, 1) : 0;
}

static __always_inline struct event *note(__u32 kind)
{
	__u32 at = count(NOTED);
	struct event *e = bpf_map_lookup_elem(&events, &at);
	if (e)
		e->kind = kind;
	return e;
}

static __always_inline int foreign(__u32 id)
{
	return !bpf_map_lookup_elem(&mine, &id);
}

static __always_inline __u32 target(__u32 key)
{
	__u32 *v = bpf_map_lookup_elem(&to, &key);
	return v ? *v : 0;
}

SEC("xdp")
int does(struct xdp_md *ctx)
{
	__u8 *p = (void *)(long)ctx->data;
	if (p + 16 > (__u8 *)(long)ctx->data_end || *(__u16 *)(p + 12) != OWN)
		return XDP_PASS;
	count(RAN);
	switch (p[14]) {
	case 1:
		return XDP_ABORTED;
	case 2:
		return 77;
	case 3:
		return bpf_redirect(999999, 0);
	case 4:
		return bpf_redirect(target(1), 0);
	case 5:
		return XDP_REDIRECT; // without having named a target
	case 6:
		return bpf_redirect_map(&devs, 3, 0);
	case 7:
		bpf_redirect_map(&devs, 3, 0);
		return XDP_REDIRECT;
	case 8:
		return bpf_redirect_map(&devs, 0, 0);
	case 9:
		return bpf_redirect_map(&devs, 1, 0);
	case 10:
		return bpf_redirect_map(&devs, 2, 0);
	case 11:
		return bpf_redirect_map(&nobody, 0, 8);
	case 12:
		return bpf_redirect_map(&devs, 3, 8);
	case 13:
		return bpf_redirect_map(&cpus, 0, 0);
	case 14:
		return bpf_redirect_map(&cpus, 2, 0);
	case 15:
		return bpf_redirect(target(0), 0);
	case 16:
		return XDP_PASS;
	case 17:
		bpf_redirect_map(&devs, 3, 0);
		bpf_redirect(999999, 0);
		return XDP_REDIRECT;
	case 18:
		return bpf_redirect(target(0), 1);
	}
	return XDP_DROP;
}

SEC("xdp")
int drops(struct xdp_md *ctx)
{
	return XDP_DROP;
}

SEC("xdp/devmap")
int entry(struct xdp_md *ctx)
{
	__u8 *p = (void *)(long)ctx->data;
	count(ENTRY);
	if (p + 16 > (__u8 *)(long)ctx->data_end)
		return XDP_DROP;
	return p[15];
}

SEC("xdp/cpumap")
int oncpu(struct xdp_md *ctx)
{
	__u8 *p = (void *)(long)ctx->data;
	count(ONCPU);
	if (p + 16 > (__u8 *)(long)ctx->data_end)
		return XDP_DROP;
	return p[15];
}

SEC("tc")
int onward(struct __sk_buff *skb)
{
	return skb->protocol == OWN ? bpf_redirect(target(0), 0) : 0;
}

SEC("tp_btf/xdp_exception")
int typed_exception(__u64 *ctx)
{
	struct net_device *dev = (void *)ctx[0];
	struct bpf_prog *prog = (void *)ctx[1];
	__u32 id = prog->aux->id;
	struct event *e;

	if (foreign(id) || !(e = note(1)))
		return 0;
	e->prog = id;
	e->ifindex = dev->ifindex;
	e->v[0] = ctx[2];
	return 0;
}

static __always_inline int typed(__u64 *ctx, __u32 kind)
{
	struct net_device *dev = (void *)ctx[0];
	struct bpf_prog *prog = (void *)ctx[1];
	__u32 id = prog->aux->id;
	struct event *e;

	if (foreign(id) || !(e = note(kind)))
		return 0;
	e->prog = id;
	e->ifindex = dev->ifindex;
	e->v[0] = ctx[2] != 0;
	e->v[1] = ctx[3];
	e->v[2] = ctx[4];
	e->v[3] = ctx[5];
	e->v[4] = ctx[6];
	return 0;
}

SEC("tp_btf/xdp_redirect")
int typed_redirect(__u64 *ctx)
{
	return typed(ctx, 2);
}

SEC("tp_btf/xdp_redirect_err")
int typed_redirect_err(__u64 *ctx)
{
	return typed(ctx, 3);
}

struct redirect_record {
	__u64 head;
	__s32 prog, act, ifindex, err, to, map, index;
};

SEC("tp/xdp/xdp_exception")
int record_exception(struct redirect_record *r)
{
	struct event *e;

	if (foreign(r->prog) || !(e = note(4)))
		return 0;
	e->prog = r->prog;
	e->ifindex = r->ifindex;
	e->v[0] = r->act;
	return 0;
}

static __always_inline int record(struct redirect_record *r, __u32 kind)
{
	struct event *e;

	if (foreign(r->prog) || !(e = note(kind)))
		return 0;
	e->prog = r->prog;
	e->ifindex = r->ifindex;
	e->v[0] = r->act;
	e->v[1] = r->err;
	e->v[2] = r->to;
	e->v[3] = r->map;
	e->v[4] = r->index;
	return 0;
}

SEC("tp/xdp/xdp_redirect")
int record_redirect(struct redirect_record *r)
{
	return record(r, 5);
}

SEC("tp/xdp/xdp_redirect_err")
int record_redirect_err(struct redirect_record *r)
{
	return record(r, 6);
}

static __always_inline int packet(__u64 *ctx, __u32 kind)
{
	struct sk_buff *skb = (void *)ctx[0];
	struct net_device *dev = skb->dev;
	__u32 ifindex = dev->ifindex;
	struct event *e;

	if (skb->protocol != OWN || foreign(ifindex | DEVICE) || !(e = note(kind)))
		return 0;
	e->ifindex = ifindex;
	e->v[0] = skb->len;
	e->v[1] = skb->data_len;
	return 0;
}

SEC("tp_btf/netif_receive_skb")
int typed_received(__u64 *ctx)
{
	return packet(ctx, 7);
}

SEC("tp_btf/net_dev_queue")
int typed_queued(__u64 *ctx)
{
	return packet(ctx, 8);
}

struct skb_record {
	__u64 head;
	struct sk_buff *skb;
	__u32 len, name;
};

static __always_inline int skb_record(struct skb_record *r, __u32 kind)
{
	struct net_device *dev;
	struct sk_buff *skb = r->skb;
	struct event *e;
	__u16 protocol = 0;
	__u32 ifindex = 0;

	bpf_probe_read_kernel(&protocol, sizeof(protocol), &skb->protocol);
	bpf_probe_read_kernel(&dev, sizeof(dev), &skb->dev);
	bpf_probe_read_kernel(&ifindex, sizeof(ifindex), &dev->ifindex);
	if (protocol != OWN || foreign(ifindex | DEVICE) || !(e = note(kind)))
		return 0;
	e->ifindex = ifindex;
	e->v[0] = r->len;
	bpf_probe_read_kernel(&e->v[1], 4, (void *)r + (r->name & 0xffff)); // the name's first four bytes
	e->v[2] = r->name >> 16;
	e->v[3] = r->skb != 0;
	return 0;
}

SEC("tp/net/netif_receive_skb")
int record_received(struct skb_record *r)
{
	return skb_record(r, 9);
}

SEC("tp/net/net_dev_queue")
int record_queued(struct skb_record *r)
{
	return skb_record(r, 10);
}

char _license[] SEC("license") = "GPL";
