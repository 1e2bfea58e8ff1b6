// SPDX-License-Identifier: Apache-2.0
// kind: negative-size
#include "refusals.h"

MAP_RING(ring);
static long (*const bpf_probe_read_kernel_str)(void *to, __u32 size, const void *from) = (void *)115;

SEC("kprobe")
int wrong(void *ctx)
{
	char name[16] = {};
	long n = bpf_probe_read_kernel_str(name, sizeof(name), ctx);

	// change:
	bpf_ringbuf_output(&ring, name, n, 0);
	return 0;
}

SEC("kprobe")
int right(void *ctx)
{
	char name[16] = {};
	long n = bpf_probe_read_kernel_str(name, sizeof(name), ctx);

	if (n < 0 || n > (long)sizeof(name))
		return 0;
	bpf_ringbuf_output(&ring, name, n, 0);
	return 0;
}

LICENSED;
