/* An iterator over a map's elements: their keys, one a line. */
#include "bpf.h"

static long (*const seq_printf)(void *seq, const char *fmt, u32 size, const void *data, u32 len) = (void *)126;

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct bpf_iter_meta {
	void *seq;
};

struct bpf_iter__bpf_map_elem {
	struct bpf_iter_meta *meta;
	void *map;
	void *key;
	void *value;
};
#pragma clang attribute pop

SEC("iter/bpf_map_elem")
int list_keys(struct bpf_iter__bpf_map_elem *ctx)
{
	u32 *key = ctx->key;
	u64 k;

	if (!key)
		return 0;
	k = *key;
	seq_printf(ctx->meta->seq, "key %d\n", 8, &k, sizeof(k));
	return 0;
}

char _license[] SEC("license") = "GPL";
