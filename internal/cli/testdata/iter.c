/* An iterator over maps: their ids, one a line. */
#include "bpf.h"

static long (*const seq_printf)(void *seq, const char *fmt, u32 size, const void *data, u32 len) = (void *)126;

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct bpf_iter_meta {
	void *seq;
};

struct bpf_map {
	u32 id;
};

struct bpf_iter__bpf_map {
	struct bpf_iter_meta *meta;
	struct bpf_map *map;
};
#pragma clang attribute pop

SEC("iter/bpf_map")
int list_maps(struct bpf_iter__bpf_map *ctx)
{
	struct bpf_map *map = ctx->map;
	u64 id;

	if (!map)
		return 0;
	id = map->id;
	seq_printf(ctx->meta->seq, "map %d\n", 8, &id, sizeof(id));
	return 0;
}

char _license[] SEC("license") = "GPL";
