// Programs that are attached to functions of others, and those others.
#include <stddef.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "GPL";

// The kernel's structures, as far as they are looked at.
struct net_device { int ifindex; char name[16]; } __attribute__((preserve_access_index));
struct xdp_rxq_info { struct net_device *dev; unsigned int queue_index; } __attribute__((preserve_access_index));
struct xdp_buff { void *data; void *data_end; struct xdp_rxq_info *rxq; } __attribute__((preserve_access_index));
struct sk_buff { unsigned int len; unsigned int mark; unsigned short protocol; struct net_device *dev; unsigned char *data; } __attribute__((preserve_access_index));

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 64);
	__type(key, __u32);
	__type(value, __u64);
} seen SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(max_entries, 128);
	__type(key, __u32);
	__type(value, __u32);
} samples SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u32);
} jumps SEC(".maps");

static __always_inline void note(__u32 at, __u64 v)
{
	__u64 *p = bpf_map_lookup_elem(&seen, &at);
	if (p)
		*p = v;
}

static __always_inline void add(__u32 at, __u64 v)
{
	__u64 *p = bpf_map_lookup_elem(&seen, &at);
	if (p)
		*p += v;
}

__noinline int sub(struct xdp_md *ctx, int n)
{
	volatile int r = n + 1;
	if (!ctx)
		return 0;
	return r;
}

static __noinline int hidden(volatile int *n)
{
	return *n + 100;
}

static long each(__u32 i, void *n)
{
	add(0, 1);
	return 0;
}

SEC("xdp")
int target(struct xdp_md *ctx)
{
	volatile int n = 5;
	int r = sub(ctx, n);
	bpf_loop(3, each, NULL, 0);
	return r + hidden(&n);
}

SEC("xdp")
int caller(struct xdp_md *ctx)
{
	bpf_tail_call(ctx, &jumps, 0);
	return 77;
}

SEC("tc")
int classify(struct __sk_buff *skb)
{
	skb->mark = 9;
	return 3;
}

SEC("fentry/target")
int BPF_PROG(enter_target, struct xdp_buff *xdp)
{
	add(1, 1);
	note(2, (__u64)((long)xdp->data_end - (long)xdp->data));
	note(3, xdp->rxq->dev->ifindex);
	note(4, bpf_get_func_arg_cnt(ctx));
	note(5, bpf_get_func_ip(ctx) != 0);
	note(6, bpf_get_attach_cookie(ctx));
	__u64 len = (__u64)((long)xdp->data_end - (long)xdp->data), tag = 0x1234;
	bpf_xdp_output(xdp, &samples, BPF_F_CURRENT_CPU | len << 32, &tag, sizeof(tag));
	note(7, *(__u64 *)xdp->rxq->dev->name);
	return 0;
}

SEC("fexit/target")
int BPF_PROG(leave_target, struct xdp_buff *xdp, int ret)
{
	__u64 v = 0;
	add(8, 1);
	note(9, ret);
	bpf_get_func_ret(ctx, &v);
	note(10, v);
	note(11, bpf_get_func_arg(ctx, 1, &v));
	return 0;
}

SEC("fentry/sub")
int BPF_PROG(enter_sub, struct xdp_buff *xdp, int n)
{
	add(12, 1);
	note(13, n);
	note(14, (__u64)((long)xdp->data_end - (long)xdp->data));
	add(18, 1); // whoever comes first finds the other's number not yet there
	__u32 at = 18;
	__u64 *p = bpf_map_lookup_elem(&seen, &at);
	note(19, p ? *p : 0);
	return 0;
}

SEC("fentry/sub")
int BPF_PROG(enter_sub_too, struct xdp_buff *xdp, int n)
{
	__u32 at = 18;
	__u64 *p = bpf_map_lookup_elem(&seen, &at);
	note(20, p ? *p : 0);
	add(18, 1);
	return 0;
}

SEC("fexit/sub")
int BPF_PROG(leave_sub, struct xdp_buff *xdp, int n, int ret)
{
	add(15, 1);
	note(16, n);
	note(17, ret);
	return 0;
}

SEC("fexit/hidden")
int leave_hidden(__u64 *ctx)
{
	note(21, (int)ctx[5]); // of static functions the kernel shows five registers
	return 0;
}

SEC("fentry/each")
int BPF_PROG(enter_each)
{
	add(22, 1);
	return 0;
}

SEC("freplace/sub")
int instead(struct xdp_md *ctx, int n)
{
	add(23, 1);
	return n + 1000 + (ctx->data_end > ctx->data);
}

SEC("freplace/target")
int instead_of_target(struct xdp_md *ctx)
{
	add(24, 1);
	return 42;
}

// Attached to a program that is attached itself.
SEC("fexit/instead")
int BPF_PROG(leave_instead, struct xdp_buff *xdp, int n, int ret)
{
	note(25, n);
	note(26, ret);
	return 0;
}

SEC("fentry/enter_target")
int BPF_PROG(enter_enter, void *args)
{
	add(27, 1);
	return 0;
}

SEC("fexit/classify")
int BPF_PROG(leave_classify, struct sk_buff *skb, int ret)
{
	__u64 tag = 0x5678;
	note(28, skb->len);
	note(29, skb->mark);
	note(30, skb->protocol);
	note(31, skb->dev->ifindex);
	note(32, ret);
	bpf_skb_output(skb, &samples, BPF_F_CURRENT_CPU | (__u64)skb->len << 32, &tag, sizeof(tag));
	return 0;
}
