/* Programs to be attached to a control group and a device. */
#include "bpf.h"

SEC("cgroup_skb/ingress")
int allow_ingress(void *skb)
{
	return 1;
}

SEC("xdp")
int pass_all(void *ctx)
{
	return 2;
}

SEC("tc")
int first_tc(void *skb)
{
	return -1;
}

SEC("tc")
int last_tc(void *skb)
{
	return 0;
}

char _license[] SEC("license") = "GPL";
