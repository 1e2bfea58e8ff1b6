// SPDX-License-Identifier: Apache-2.0
// kind: license
#include "refusals.h"

SEC("kprobe")
int wrong(void *ctx)
{
	__u64 value = 0;

	// change:
	bpf_probe_read_kernel(&value, sizeof(value), ctx);
	return value != 0;
}

SEC("kprobe")
int right(void *ctx)
{
	return bpf_ktime_get_ns() != 0;
}

char LICENSE[] SEC("license") = "Proprietary";
