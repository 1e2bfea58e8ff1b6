// SPDX-License-Identifier: Apache-2.0
// kind: kptr-store
#include "refusals.h"

struct value {
	struct task_struct __kptr *task;
};
ARRAY(values, struct value);

SEC("tc")
int wrong(struct __sk_buff *skb)
{
	__u32 key = 0;
	struct value *v = bpf_map_lookup_elem(&values, &key);
	struct task_struct *task;

	if (!v)
		return TC_ACT_OK;
	task = bpf_task_from_pid(skb->mark);
	if (!task)
		return TC_ACT_OK;
	// change:
	v->task = task;
	return TC_ACT_OK;
}

SEC("tc")
int right(struct __sk_buff *skb)
{
	__u32 key = 0;
	struct value *v = bpf_map_lookup_elem(&values, &key);
	struct task_struct *task;

	if (!v)
		return TC_ACT_OK;
	task = bpf_task_from_pid(skb->mark);
	if (!task)
		return TC_ACT_OK;
	task = bpf_kptr_xchg(&v->task, task);
	if (task)
		bpf_task_release(task);
	return TC_ACT_OK;
}

LICENSED;
