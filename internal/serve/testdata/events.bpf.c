// Programs at events that test runs and traced lines raise.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "GPL";

const volatile __u32 pid; // whose events count; 0: everybody's

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 32);
	__type(key, __u32);
	__type(value, __u64);
} seen SEC(".maps");

static __always_inline void note(__u32 at, __u64 v, int more)
{
	__u64 *p = bpf_map_lookup_elem(&seen, &at);
	if (p)
		*p = more ? *p + v : v;
}

static __always_inline int foreign(void)
{
	return pid && bpf_get_current_pid_tgid() >> 32 != pid;
}

SEC("xdp")
int prints(struct xdp_md *ctx)
{
	bpf_printk("fire %d", 42);
	return 2;
}

SEC("raw_tp/bpf_trace_printk")
int raw_printk(struct bpf_raw_tracepoint_args *ctx)
{
	char text[16] = {};
	if (foreign())
		return 0;
	note(0, 1, 1);
	note(1, bpf_probe_read_kernel_str(text, sizeof(text), (void *)ctx->args[0]), 0);
	note(2, *(__u64 *)text, 0);
	bpf_printk("within"); // not told of again
	return 0;
}

SEC("raw_tp/bpf_test_finish")
int raw_finish(struct bpf_raw_tracepoint_args *ctx)
{
	int err = 1;
	if (foreign())
		return 0;
	note(3, 1, 1);
	note(4, bpf_probe_read_kernel(&err, sizeof(err), (void *)ctx->args[0]), 0);
	note(5, err, 0);
	note(6, bpf_get_attach_cookie(ctx), 0);
	return 0;
}

SEC("tp_btf/bpf_test_finish")
int BPF_PROG(typed_finish, int *err)
{
	if (foreign())
		return 0;
	int no = 1;
	note(7, 1, 1);
	bpf_probe_read_kernel(&no, sizeof(no), err);
	note(8, no, 0);
	return 0;
}

SEC("tracepoint/bpf_test_run/bpf_test_finish")
int record_finish(struct { __u64 head; int err; } *ctx)
{
	if (foreign())
		return 0;
	note(9, 1, 1);
	note(10, ctx->err, 0);
	return 0;
}

SEC("tracepoint/bpf_trace/bpf_trace_printk")
int record_printk(struct { __u64 head; __u32 where; } *ctx)
{
	char text[16] = {};
	if (foreign())
		return 0;
	note(11, 1, 1);
	note(12, ctx->where, 0);
	note(13, bpf_probe_read_kernel_str(text, sizeof(text), (void *)ctx + (ctx->where & 0xffff)), 0);
	note(14, *(__u64 *)text, 0);
	return 0;
}
