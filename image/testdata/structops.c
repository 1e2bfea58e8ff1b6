/* A struct_ops map: plain members and functions. */
#include "bpf.h"

struct bpf_dummy_ops {
	int (*one)(int x);
	int number;
	void (*two)(void);
	char name[8];
};

SEC("struct_ops/one") int do_one(u64 *ctx) { return ctx[0]; }
SEC("struct_ops.s/two") int do_two(u64 *ctx) { return 0; }

SEC(".struct_ops") struct bpf_dummy_ops plain = { .one = (void *)do_one, .number = 42, .name = "plain" };
SEC(".struct_ops.link") struct bpf_dummy_ops linked = { .one = (void *)do_one, .two = (void *)do_two };
SEC("?.struct_ops.link") struct bpf_dummy_ops spare = { .two = (void *)do_two };

char _license[] SEC("license") = "GPL";
