/* A program that writes a sample for user space, and returns what became of it. */
#include "bpf.h"

static long (*const perf_event_output)(void *ctx, void *map, u64 flags, const void *data, u64 size) = (void *)25;

struct {
	__uint(type, PERF_EVENT_ARRAY);
	__uint(key_size, 4);
	__uint(value_size, 4);
	__uint(max_entries, 64);
} events SEC(".maps");

SEC("xdp")
int report(void *ctx)
{
	char text[21] = "from a program";

	return -perf_event_output(ctx, &events, 0xffffffff, text, sizeof(text));
}

char _license[] SEC("license") = "GPL";
