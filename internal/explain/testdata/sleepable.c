// SPDX-License-Identifier: Apache-2.0
// kind: sleepable
#include "refusals.h"

SEC("uprobe")
int wrong(void *ctx)
{
	__u64 value = 0;

	// change:
	bpf_copy_from_user(&value, sizeof(value), (void *)4096);
	return value != 0;
}

SEC("uprobe.s")
int right(void *ctx)
{
	__u64 value = 0;

	bpf_copy_from_user(&value, sizeof(value), (void *)4096);
	return value != 0;
}

LICENSED;
