/* Two TCP congestion controls. aimd grows by a packet for each round trip and gives three tenths away
 * at a loss; dctcp gives away as much as there are marks of congestion (RFC 8257). */
#include "skep_bpf.h"

struct sock {
	int unused;
} __attribute__((preserve_access_index));

struct inet_connection_sock {
	__u64 icsk_ca_priv[13];
} __attribute__((preserve_access_index));

struct tcp_sock {
	struct inet_connection_sock inet_conn;
	__u32 snd_una, snd_nxt, snd_cwnd, snd_ssthresh, delivered, delivered_ce;
} __attribute__((preserve_access_index));

struct ack_sample {
	__u32 pkts_acked;
	__s32 rtt_us;
} __attribute__((preserve_access_index));

struct tcp_congestion_ops {
	char name[16];
	__u32 flags;
	__u32 (*ssthresh)(struct sock *sk);
	void (*cong_avoid)(struct sock *sk, __u32 ack, __u32 acked);
	void (*set_state)(struct sock *sk, __u8 state);
	void (*in_ack_event)(struct sock *sk, __u32 flags);
	void (*pkts_acked)(struct sock *sk, const struct ack_sample *sample);
	__u32 (*undo_cwnd)(struct sock *sk);
	void (*init)(struct sock *sk);
	void (*release)(struct sock *sk);
} __attribute__((preserve_access_index));

extern __u32 tcp_slow_start(struct tcp_sock *tp, __u32 acked) __attribute__((section(".ksyms")));
extern void tcp_cong_avoid_ai(struct tcp_sock *tp, __u32 w, __u32 acked) __attribute__((section(".ksyms")));
extern __u32 tcp_reno_undo_cwnd(struct sock *sk) __attribute__((section(".ksyms")));

enum { NEEDS_ECN = 2 }; /* TCP_CONG_NEEDS_ECN */

/* What a connection keeps in icsk_ca_priv. */
struct state {
	__u32 loss_cwnd, min_rtt; /* packets, microseconds */
	__u32 alpha;              /* the share of marked packets, of ONE */
	__u32 next, delivered, delivered_ce;
};

#define ONE 1024u
#define ALPHA_SHIFT 4 /* a sixteenth of the news at once */

__u32 connections;

static struct tcp_sock *tcp(__u64 *ctx) { return (struct tcp_sock *)ctx[0]; }
static struct state *state_of(struct tcp_sock *tp) { return (struct state *)tp->inet_conn.icsk_ca_priv; }
static int before(__u32 a, __u32 b) { return (__s32)(a - b) < 0; }

static void round_begins(struct tcp_sock *tp, struct state *s)
{
	s->next = tp->snd_nxt;
	s->delivered = tp->delivered;
	s->delivered_ce = tp->delivered_ce;
}

SEC("struct_ops/begin")
void begin(__u64 *ctx)
{
	struct tcp_sock *tp = tcp(ctx);
	struct state *s = state_of(tp);

	s->loss_cwnd = 0;
	s->min_rtt = ~0u;
	s->alpha = ONE;
	round_begins(tp, s);
	__sync_fetch_and_add(&connections, 1);
}

SEC("struct_ops/end")
void end(__u64 *ctx)
{
	__sync_fetch_and_add(&connections, -1);
}

SEC("struct_ops/grow")
void grow(__u64 *ctx)
{
	struct tcp_sock *tp = tcp(ctx);
	__u32 acked = ctx[2];

	if (tp->snd_cwnd < tp->snd_ssthresh) {
		acked = tcp_slow_start(tp, acked);
		if (!acked)
			return;
	}
	tcp_cong_avoid_ai(tp, tp->snd_cwnd, acked);
}

SEC("struct_ops/measure")
void measure(__u64 *ctx)
{
	struct ack_sample *sample = (struct ack_sample *)ctx[1];
	struct state *s = state_of(tcp(ctx));
	__s32 rtt = sample->rtt_us;

	if (rtt > 0 && (__u32)rtt < s->min_rtt)
		s->min_rtt = rtt;
}

SEC("struct_ops/three_tenths")
__u32 three_tenths(__u64 *ctx)
{
	struct tcp_sock *tp = tcp(ctx);
	__u32 cwnd = tp->snd_cwnd, left = cwnd * 7 / 10;

	state_of(tp)->loss_cwnd = cwnd;
	return left < 2 ? 2 : left;
}

SEC("struct_ops/as_before")
__u32 as_before(__u64 *ctx)
{
	struct tcp_sock *tp = tcp(ctx);
	__u32 old = state_of(tp)->loss_cwnd;

	return old > tp->snd_cwnd ? old : tp->snd_cwnd;
}

SEC(".struct_ops.link")
struct tcp_congestion_ops aimd = {
	.init = (void *)begin, .release = (void *)end, .cong_avoid = (void *)grow, .pkts_acked = (void *)measure,
	.ssthresh = (void *)three_tenths, .undo_cwnd = (void *)as_before, .name = "skep_aimd",
};

/* Once a round trip: what share of the packets was marked. */
SEC("struct_ops/marks")
void marks(__u64 *ctx)
{
	struct tcp_sock *tp = tcp(ctx);
	struct state *s = state_of(tp);

	if (before(tp->snd_una, s->next))
		return;
	__u32 all = tp->delivered - s->delivered, marked = tp->delivered_ce - s->delivered_ce;
	__u32 alpha = s->alpha, fade = alpha >> ALPHA_SHIFT;

	alpha -= fade ? fade : alpha;
	if (marked)
		alpha += (marked << (10 - ALPHA_SHIFT)) / (all ? all : 1);
	s->alpha = alpha > ONE ? ONE : alpha;
	round_begins(tp, s);
}

SEC("struct_ops/by_marks")
__u32 by_marks(__u64 *ctx)
{
	struct tcp_sock *tp = tcp(ctx);
	__u32 cwnd = tp->snd_cwnd, left = cwnd - ((cwnd * state_of(tp)->alpha) >> 11);

	state_of(tp)->loss_cwnd = cwnd;
	return left < 2 ? 2 : left;
}

SEC("struct_ops/undo")
__u32 undo(__u64 *ctx)
{
	return tcp_reno_undo_cwnd((struct sock *)ctx[0]);
}

SEC(".struct_ops.link")
struct tcp_congestion_ops dctcp = {
	.init = (void *)begin, .release = (void *)end, .cong_avoid = (void *)grow, .pkts_acked = (void *)measure,
	.in_ack_event = (void *)marks, .ssthresh = (void *)by_marks, .undo_cwnd = (void *)undo,
	.flags = NEEDS_ECN, .name = "skep_dctcp",
};

char _license[] SEC("license") = "GPL";
