// SPDX-License-Identifier: Apache-2.0
// kind: reference-leak
#include "refusals.h"

SEC("tc")
int wrong(struct __sk_buff *skb)
{
	struct task_struct *task = bpf_task_from_pid(skb->mark);

	if (!task)
		return TC_ACT_OK;
	// change:
	skb->priority = task->pid;
	return TC_ACT_OK;
}

SEC("tc")
int right(struct __sk_buff *skb)
{
	struct task_struct *task = bpf_task_from_pid(skb->mark);

	if (!task)
		return TC_ACT_OK;
	skb->priority = task->pid;
	bpf_task_release(task);
	return TC_ACT_OK;
}

LICENSED;
