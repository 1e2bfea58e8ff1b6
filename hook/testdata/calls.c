/* A TCP congestion control that notes which members are called, and what tcp_slow_start and
 * tcp_cong_avoid_ai make of what they find. */
typedef unsigned char u8;
typedef unsigned int u32;
typedef int s32;
typedef unsigned long long u64;
#define SEC(name) __attribute__((section(name), used))
#define ksym __attribute__((section(".ksyms")))

struct sock {
	int unused;
} __attribute__((preserve_access_index));

struct tcp_sock {
	u32 snd_cwnd, snd_cwnd_cnt, snd_cwnd_clamp, snd_ssthresh;
} __attribute__((preserve_access_index));

struct ack_sample {
	u32 pkts_acked;
} __attribute__((preserve_access_index));

struct tcp_congestion_ops {
	char name[16];
	u32 (*ssthresh)(struct sock *sk);
	void (*cong_avoid)(struct sock *sk, u32 ack, u32 acked);
	void (*set_state)(struct sock *sk, u8 state);
	void (*cwnd_event)(struct sock *sk, u32 event);
	void (*in_ack_event)(struct sock *sk, u32 flags);
	void (*pkts_acked)(struct sock *sk, const struct ack_sample *sample);
	u32 (*undo_cwnd)(struct sock *sk);
	void (*init)(struct sock *sk);
	void (*release)(struct sock *sk);
} __attribute__((preserve_access_index));

extern u32 tcp_slow_start(struct tcp_sock *tp, u32 acked) ksym;
extern void tcp_cong_avoid_ai(struct tcp_sock *tp, u32 w, u32 acked) ksym;
extern u32 tcp_reno_ssthresh(struct sock *sk) ksym;
extern u32 tcp_reno_undo_cwnd(struct sock *sk) ksym;
extern void tcp_reno_cong_avoid(struct sock *sk, u32 ack, u32 acked) ksym;

enum member { INIT = 1, RELEASE, SSTHRESH, CONG_AVOID, SET_STATE, CWND_EVENT, IN_ACK_EVENT, PKTS_ACKED, UNDO_CWND };

/* What cwnd, cwnd_cnt, clamp and ssthresh were, and the first two afterwards. */
struct call {
	u32 member, arg, before[4], after[2];
};

#define MOST 1024
u32 calls;
struct call noted_calls[MOST];

static struct call *note(u32 member, struct tcp_sock *tp, u32 arg)
{
	u32 n = __sync_fetch_and_add(&calls, 1);
	struct call *c = &noted_calls[n & (MOST - 1)];

	if (n >= MOST)
		return 0;
	c->member = member;
	c->arg = arg;
	c->before[0] = tp->snd_cwnd;
	c->before[1] = tp->snd_cwnd_cnt;
	c->before[2] = tp->snd_cwnd_clamp;
	c->before[3] = tp->snd_ssthresh;
	return c;
}

static struct tcp_sock *tcp(u64 *ctx) { return (struct tcp_sock *)ctx[0]; }

SEC("struct_ops/noted_init") void noted_init(u64 *ctx) { note(INIT, tcp(ctx), 0); }
SEC("struct_ops/noted_release") void noted_release(u64 *ctx) { note(RELEASE, tcp(ctx), 0); }
SEC("struct_ops/noted_state") void noted_state(u64 *ctx) { note(SET_STATE, tcp(ctx), (u8)ctx[1]); }
SEC("struct_ops/noted_event") void noted_event(u64 *ctx) { note(CWND_EVENT, tcp(ctx), ctx[1]); }
SEC("struct_ops/noted_ack") void noted_ack(u64 *ctx) { note(IN_ACK_EVENT, tcp(ctx), ctx[1]); }

SEC("struct_ops/noted_acked") void noted_acked(u64 *ctx)
{
	note(PKTS_ACKED, tcp(ctx), ((struct ack_sample *)ctx[1])->pkts_acked);
}

SEC("struct_ops/noted_ssthresh") u32 noted_ssthresh(u64 *ctx)
{
	note(SSTHRESH, tcp(ctx), 0);
	return tcp_reno_ssthresh((struct sock *)ctx[0]);
}

SEC("struct_ops/noted_undo") u32 noted_undo(u64 *ctx)
{
	note(UNDO_CWND, tcp(ctx), 0);
	return tcp_reno_undo_cwnd((struct sock *)ctx[0]);
}

SEC("struct_ops/noted_avoid") void noted_avoid(u64 *ctx)
{
	struct tcp_sock *tp = tcp(ctx);
	u32 acked = ctx[2];
	struct call *c = note(CONG_AVOID, tp, acked);

	/* Slow start ends early here, for congestion avoidance to be seen. */
	if (tp->snd_cwnd < 24)
		acked = tcp_slow_start(tp, acked);
	if (acked)
		tcp_cong_avoid_ai(tp, tp->snd_cwnd >> 3, acked);
	if (c) {
		c->after[0] = tp->snd_cwnd;
		c->after[1] = tp->snd_cwnd_cnt;
	}
}

SEC(".struct_ops.link")
struct tcp_congestion_ops noted = {
	.init = (void *)noted_init, .release = (void *)noted_release, .set_state = (void *)noted_state,
	.cwnd_event = (void *)noted_event, .in_ack_event = (void *)noted_ack, .pkts_acked = (void *)noted_acked,
	.ssthresh = (void *)noted_ssthresh, .undo_cwnd = (void *)noted_undo, .cong_avoid = (void *)noted_avoid,
	.name = "c_00000000",
};

/* The same, by the kernel's function for all of it. */
SEC("struct_ops/reno_avoid") void reno_avoid(u64 *ctx) { tcp_reno_cong_avoid((struct sock *)ctx[0], ctx[1], ctx[2]); }

SEC("?.struct_ops.link")
struct tcp_congestion_ops reno = {
	.ssthresh = (void *)noted_ssthresh, .undo_cwnd = (void *)noted_undo, .cong_avoid = (void *)reno_avoid, .name = "r_00000000",
};

char _license[] SEC("license") = "GPL";
