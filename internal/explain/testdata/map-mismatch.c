// SPDX-License-Identifier: Apache-2.0
// kind: map-mismatch
#include "refusals.h"

struct value {
	struct bpf_timer timer;
};
ARRAY(first, struct value);
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct value);
} second SEC(".maps");

SEC("tc")
int wrong(struct __sk_buff *skb)
{
	__u32 key = 0;
	struct value *v = bpf_map_lookup_elem(&first, &key);

	if (v)
		// change:
		bpf_timer_init(&v->timer, &second, 1);
	return TC_ACT_OK;
}

SEC("tc")
int right(struct __sk_buff *skb)
{
	__u32 key = 0;
	struct value *v = bpf_map_lookup_elem(&first, &key);

	if (v)
		bpf_timer_init(&v->timer, &first, 1);
	return TC_ACT_OK;
}

LICENSED;
