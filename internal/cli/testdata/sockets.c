/* Programs for maps of sockets, and a flow dissector. */
#include "bpf.h"

struct {
	__uint(type, 15); /* SOCKMAP */
	__uint(key_size, 4);
	__uint(value_size, 4);
	__uint(max_entries, 2);
} socks SEC(".maps");

SEC("sk_skb/stream_parser") int parser(void *skb) { return 0; }
SEC("sk_skb/stream_verdict") int verdict(void *skb) { return 1; }
SEC("sk_skb") int plain(void *skb) { return 1; }
SEC("sk_msg") int message(void *msg) { return 1; }
SEC("flow_dissector") int dissect(void *skb) { return 0; }
SEC("raw_tp/sched_switch") int switched(void *ctx) { return 0; }

char _license[] SEC("license") = "GPL";
