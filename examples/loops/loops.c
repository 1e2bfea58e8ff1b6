// SPDX-License-Identifier: Apache-2.0
#include "loops.h"

// By the compiler: no loop is left.
SEC("xdp")
int unrolled(struct xdp_md *ctx)
{
	void *data_end = (void *)(long)ctx->data_end;
	__u16 *word = (void *)(long)ctx->data;
	__u64 sum = 0;

	if ((void *)(word + WORDS) > data_end)
		return XDP_DROP;
#pragma unroll
	for (int i = 0; i < WORDS; i++)
		sum += word[i];
	return file(UNROLLED, sum);
}

// By a backward jump: the verifier follows it round after round.
SEC("xdp")
int plain(struct xdp_md *ctx)
{
	void *data_end = (void *)(long)ctx->data_end;
	__u16 *word = (void *)(long)ctx->data;
	__u64 sum = 0;

	if ((void *)(word + WORDS) > data_end)
		return XDP_DROP;
#pragma clang loop unroll(disable) vectorize(disable)
	for (int i = 0; i < WORDS; i++)
		sum += word[i];
	return file(PLAIN, sum);
}

struct adder {
	__u64 sum;
	__u16 words[WORDS];
};

static long add(__u32 i, struct adder *a)
{
	a->sum += a->words[i & (WORDS - 1)];
	return 0; // go on
}

// By the kernel: the body is a callback, verified once.
SEC("xdp")
int looped(struct xdp_md *ctx)
{
	struct adder a = {};

	if (bpf_xdp_load_bytes(ctx, 0, a.words, sizeof(a.words)))
		return XDP_DROP;
	bpf_loop(WORDS, add, &a, 0);
	return file(BPF_LOOP, a.sum);
}
