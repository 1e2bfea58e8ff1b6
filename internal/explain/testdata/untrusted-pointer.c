// SPDX-License-Identifier: Apache-2.0
// kind: untrusted-pointer
#include "refusals.h"

struct task_struct___p {
	struct task_struct___p *real_parent, *group_leader, *last_wakee;
} __attribute__((preserve_access_index));

SEC("tc")
int wrong(struct __sk_buff *skb)
{
	struct task_struct___p *task = (void *)bpf_get_current_task_btf();
	struct task_struct *parent = (void *)task->real_parent->group_leader->last_wakee;

	// change:
	parent = bpf_task_acquire(parent);
	if (parent)
		bpf_task_release(parent);
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
