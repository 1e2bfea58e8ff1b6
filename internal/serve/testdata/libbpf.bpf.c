// The programs that libbpf.c loads.
#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, __u32);
	__type(value, __u64);
} counts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, 4);
	__uint(value_size, 4);
} samples SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_USER_RINGBUF);
	__uint(max_entries, 4096);
} orders SEC(".maps");

struct inner {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u32);
} first SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 2);
	__type(key, __u32);
	__array(values, struct inner);
} outer SEC(".maps") = { .values = { &first } };

const volatile __u32 limit = 10;
__u64 seen;
__u32 drained = 7;

struct event {
	__u32 length, number;
};

SEC("xdp")
int count(struct xdp_md *ctx)
{
	__u32 length = ctx->data_end - ctx->data;
	__u64 one = 1, *n = bpf_map_lookup_elem(&counts, &length);
	struct event *e;

	seen++;
	if (n)
		__sync_fetch_and_add(n, 1);
	else
		bpf_map_update_elem(&counts, &length, &one, BPF_NOEXIST);
	e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (e) {
		e->length = length;
		e->number = seen;
		bpf_ringbuf_submit(e, 0);
	}
	bpf_perf_event_output(ctx, &samples, BPF_F_CURRENT_CPU, &length, sizeof(length));
	return length > limit ? XDP_DROP : XDP_PASS;
}

static long order(struct bpf_dynptr *d, void *sum)
{
	__u32 v;

	if (!bpf_dynptr_read(&v, sizeof(v), d, 0, 0))
		*(__u32 *)sum += v;
	return 0;
}

SEC("tc")
int drain(struct __sk_buff *skb)
{
	__u32 sum = 0;
	long n = bpf_user_ringbuf_drain(&orders, order, &sum, 0);

	drained = sum;
	return n;
}

SEC("cgroup_skb/egress")
int egress(struct __sk_buff *skb)
{
	return 1;
}

char _license[] SEC("license") = "GPL";
