// SPDX-License-Identifier: Apache-2.0
// kind: sleep-in-atomic
#include "refusals.h"

SEC("uprobe.s")
int wrong(void *ctx)
{
	__u64 value = 0;

	bpf_rcu_read_lock();
	// change:
	bpf_copy_from_user(&value, sizeof(value), (void *)4096);
	bpf_rcu_read_unlock();
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
