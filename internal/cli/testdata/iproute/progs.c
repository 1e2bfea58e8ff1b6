// SPDX-License-Identifier: Apache-2.0
//
// Programs in sections of any name, as tc takes them. Made by
//
//	clang-19 -O2 -g -target bpfel -I../../../../examples/include -c progs.c -o progs.o && llvm-strip-19 -g progs.o
#include "skep_net.h"

SEC("p1")
int cls_one(struct __sk_buff *skb)
{
	return TC_ACT_OK;
}

SEC("p2")
int cls_two(struct __sk_buff *skb)
{
	return TC_ACT_SHOT;
}

SEC("classifier")
int cls_three(struct __sk_buff *skb)
{
	return TC_ACT_UNSPEC;
}

SEC("xdp")
int xdp_one(struct xdp_md *ctx)
{
	return XDP_PASS;
}

SEC("xdp/other")
int xdp_two(struct xdp_md *ctx)
{
	return XDP_DROP;
}

SEC("xdp/aborted")
int xdp_three(struct xdp_md *ctx)
{
	return XDP_ABORTED;
}

char LICENSE[] SEC("license") = "GPL";
