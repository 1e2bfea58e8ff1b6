// SPDX-License-Identifier: Apache-2.0
//
// In an object of its own, since open-coded iterators are kernel functions and
// need a kernel (or a kernel BTF) that has them: Linux 6.4.
#include "loops.h"

#define __ksym __attribute__((section(".ksyms")))
#define __weak __attribute__((weak))

struct bpf_iter_num {
	__u64 __opaque[1];
} __attribute__((aligned(8)));

int bpf_iter_num_new(struct bpf_iter_num *it, int start, int end) __weak __ksym;
int *bpf_iter_num_next(struct bpf_iter_num *it) __weak __ksym;
void bpf_iter_num_destroy(struct bpf_iter_num *it) __weak __ksym;

// By an open-coded iterator: libbpf's bpf_for(i, 0, WORDS), written out.
SEC("xdp")
int iterated(struct xdp_md *ctx)
{
	void *data_end = (void *)(long)ctx->data_end;
	__u16 *word = (void *)(long)ctx->data;
	struct bpf_iter_num it;
	__u64 sum = 0;
	int *i;

	if (data_end - (void *)word < WORDS * sizeof(*word))
		return XDP_DROP;
	bpf_iter_num_new(&it, 0, WORDS);
	while ((i = bpf_iter_num_next(&it))) {
		__u16 *at = word + (*i & (WORDS - 1));

		if ((void *)(at + 1) > data_end)
			break; // never: but a range at a variable offset has to be shown anew
		sum += *at;
	}
	bpf_iter_num_destroy(&it);
	return file(BPF_FOR, sum);
}
