// SPDX-License-Identifier: Apache-2.0
//
// Maps as iproute2's own loader knows them, and a program that goes into one of
// them by its section's name. Made as progs.o.
#include "skep_net.h"

struct bpf_elf_map {
	__u32 type, size_key, size_value, max_elem, flags, id, pinning, inner_id, inner_idx;
};

enum { PIN_NONE, PIN_OBJECT_NS, PIN_GLOBAL_NS };

struct bpf_elf_map SEC("maps") nowhere = {
	.type = BPF_MAP_TYPE_ARRAY, .size_key = 4, .size_value = 8, .max_elem = 1, .pinning = PIN_NONE,
};
struct bpf_elf_map SEC("maps") own = {
	.type = BPF_MAP_TYPE_ARRAY, .size_key = 4, .size_value = 8, .max_elem = 1, .pinning = PIN_OBJECT_NS,
};
struct bpf_elf_map SEC("maps") everyones = {
	.type = BPF_MAP_TYPE_ARRAY, .size_key = 4, .size_value = 8, .max_elem = MAX_ELEM, .pinning = PIN_GLOBAL_NS,
};
struct bpf_elf_map SEC("maps") jumps = {
	.type = BPF_MAP_TYPE_PROG_ARRAY, .size_key = 4, .size_value = 4, .max_elem = 8, .id = 42, .pinning = PIN_GLOBAL_NS,
};

static __always_inline void count(void *map)
{
	__u32 key = 0;
	__u64 *n = bpf_map_lookup_elem(map, &key);

	if (n)
		__sync_fetch_and_add(n, 1);
}

SEC("classifier")
int cls_main(struct __sk_buff *skb)
{
	count(&nowhere);
	count(&own);
	bpf_tail_call(skb, &jumps, 3);
	return TC_ACT_OK;
}

SEC("42/3")
int cls_tail(struct __sk_buff *skb)
{
	count(&everyones);
	return TC_ACT_SHOT;
}

char LICENSE[] SEC("license") = "GPL";
