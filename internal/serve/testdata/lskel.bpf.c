// The object of lskel.c, for TestLightSkeleton.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8);
	__type(key, int);
	__type(value, long);
} seen SEC(".maps");

const volatile int step = 1;
long total = 40;

SEC("xdp")
int count(struct xdp_md *x)
{
	int key = step;
	long one = 1, *n = bpf_map_lookup_elem(&seen, &key);

	if (n)
		++*n;
	else
		bpf_map_update_elem(&seen, &key, &one, BPF_ANY);
	total += step;
	return XDP_PASS;
}

SEC("raw_tp/bpf_test_finish")
int finished(void *ctx)
{
	total += 100;
	return 0;
}

char _license[] SEC("license") = "GPL";
