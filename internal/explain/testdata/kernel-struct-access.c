// SPDX-License-Identifier: Apache-2.0
// kind: kernel-struct-access
#include "refusals.h"

SEC("tc")
int wrong(struct __sk_buff *skb)
{
	struct task_struct *task = bpf_get_current_task_btf();

	// change:
	return *(volatile __u64 *)((void *)task + 1000000) ? TC_ACT_OK : TC_ACT_SHOT;
}

SEC("tc")
int right(struct __sk_buff *skb)
{
	struct task_struct *task = bpf_get_current_task_btf();

	return task->pid ? TC_ACT_OK : TC_ACT_SHOT;
}

LICENSED;
