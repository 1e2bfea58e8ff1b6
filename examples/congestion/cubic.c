/* CUBIC by the kernel's functions, which keeps with each connection's socket how often it was cut back, and has
 * connections send at once what they have. */
#include "skep_bpf.h"

struct sock {
	int unused;
} __attribute__((preserve_access_index));

struct ack_sample {
	int unused;
} __attribute__((preserve_access_index));

enum tcp_ca_event { CA_EVENT_TX_START, CA_EVENT_CWND_RESTART, CA_EVENT_COMPLETE_CWR, CA_EVENT_LOSS, CA_EVENT_ECN_NO_CE, CA_EVENT_ECN_IS_CE };

struct tcp_congestion_ops {
	char name[16];
	__u32 (*ssthresh)(struct sock *sk);
	void (*cong_avoid)(struct sock *sk, __u32 ack, __u32 acked);
	void (*set_state)(struct sock *sk, __u8 state);
	void (*cwnd_event)(struct sock *sk, enum tcp_ca_event event);
	void (*pkts_acked)(struct sock *sk, const struct ack_sample *sample);
	__u32 (*undo_cwnd)(struct sock *sk);
	void (*init)(struct sock *sk);
	void (*release)(struct sock *sk);
} __attribute__((preserve_access_index));

#define ksym __attribute__((section(".ksyms")))

extern void cubictcp_init(struct sock *sk) ksym;
extern __u32 cubictcp_recalc_ssthresh(struct sock *sk) ksym;
extern void cubictcp_cong_avoid(struct sock *sk, __u32 ack, __u32 acked) ksym;
extern void cubictcp_state(struct sock *sk, __u8 state) ksym;
extern void cubictcp_cwnd_event(struct sock *sk, enum tcp_ca_event event) ksym;
extern void cubictcp_acked(struct sock *sk, const struct ack_sample *sample) ksym;
extern __u32 tcp_reno_undo_cwnd(struct sock *sk) ksym;

static long (*bpf_setsockopt)(void *sk, int level, int name, void *value, int len) = (void *)49;
static void *(*bpf_sk_storage_get)(void *map, void *sk, void *value, __u64 flags) = (void *)107;

enum { SK_STORAGE = 24, CREATE = 1, SOL_TCP = 6, TCP_NODELAY = 1 };

struct {
	__uint(type, SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, __u32);
} cuts SEC(".maps");

__u32 most_cuts; /* of a connection that has ended */

static struct sock *sock(__u64 *ctx) { return (struct sock *)ctx[0]; }

SEC("struct_ops/begin") void begin(__u64 *ctx)
{
	int yes = 1;

	bpf_setsockopt(sock(ctx), SOL_TCP, TCP_NODELAY, &yes, sizeof(yes));
	cubictcp_init(sock(ctx));
}

SEC("struct_ops/cut") __u32 cut(__u64 *ctx)
{
	__u32 *n = bpf_sk_storage_get(&cuts, sock(ctx), NULL, CREATE);

	if (n)
		++*n;
	return cubictcp_recalc_ssthresh(sock(ctx));
}

SEC("struct_ops/end") void end(__u64 *ctx)
{
	__u32 *n = bpf_sk_storage_get(&cuts, sock(ctx), NULL, 0);

	if (n && *n > most_cuts)
		most_cuts = *n;
}

SEC("struct_ops/grow") void grow(__u64 *ctx) { cubictcp_cong_avoid(sock(ctx), ctx[1], ctx[2]); }
SEC("struct_ops/state") void state(__u64 *ctx) { cubictcp_state(sock(ctx), ctx[1]); }
SEC("struct_ops/event") void event(__u64 *ctx) { cubictcp_cwnd_event(sock(ctx), ctx[1]); }
SEC("struct_ops/acked") void acked(__u64 *ctx) { cubictcp_acked(sock(ctx), (const struct ack_sample *)ctx[1]); }
SEC("struct_ops/undo") __u32 undo(__u64 *ctx) { return tcp_reno_undo_cwnd(sock(ctx)); }

SEC(".struct_ops.link")
struct tcp_congestion_ops cubic = {
	.init = (void *)begin, .release = (void *)end, .ssthresh = (void *)cut, .cong_avoid = (void *)grow, .set_state = (void *)state,
	.cwnd_event = (void *)event, .pkts_acked = (void *)acked, .undo_cwnd = (void *)undo, .name = "skep_cubic",
};

char _license[] SEC("license") = "GPL";
