// SPDX-License-Identifier: Apache-2.0
// kind: not-owned
#include "refusals.h"

SEC("tc")
int wrong(struct __sk_buff *skb)
{
	struct task_struct *task = bpf_get_current_task_btf();

	// change:
	bpf_task_release(task);
	return TC_ACT_OK;
}

SEC("tc")
int right(struct __sk_buff *skb)
{
	struct task_struct *task = bpf_task_acquire(bpf_get_current_task_btf());

	if (task)
		bpf_task_release(task);
	return TC_ACT_OK;
}

LICENSED;
