/* Two TCP congestion controls: one registered by itself, one by a link. */
#include "bpf.h"

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct sock {
	int unused;
};

/* Some of the kernel's members, in another order. */
struct tcp_congestion_ops {
	char name[16];
	u32 (*ssthresh)(struct sock *sk);
	void (*cong_avoid)(struct sock *sk, u32 ack, u32 acked);
	u32 (*undo_cwnd)(struct sock *sk);
	void *not_in_the_kernel;
	u32 flags;
};
#pragma clang attribute pop

SEC("struct_ops/ssthresh") u32 threshold(u64 *ctx) { return 2; }
SEC("struct_ops/cong_avoid") void avoid(u64 *ctx) { }
SEC("struct_ops/undo_cwnd") u32 undo(u64 *ctx) { return 3; }

SEC(".struct_ops") struct tcp_congestion_ops skep_kept = {
	.ssthresh = (void *)threshold, .cong_avoid = (void *)avoid, .undo_cwnd = (void *)undo, .name = "k_00000000",
};

SEC(".struct_ops.link") struct tcp_congestion_ops skep_linked = {
	.ssthresh = (void *)threshold, .cong_avoid = (void *)avoid, .undo_cwnd = (void *)undo, .name = "l_00000000",
};

char _license[] SEC("license") = "GPL";
