/* A TCP congestion control that is CUBIC by the kernel's functions, and notes what they find and make of it. */
typedef unsigned char u8;
typedef unsigned int u32;
typedef int s32;
typedef unsigned long long u64;
#define SEC(name) __attribute__((section(name), used))
#define ksym __attribute__((section(".ksyms")))

struct sock {
	unsigned long sk_pacing_rate;
	u32 sk_pacing_status, sk_gso_max_size;
} __attribute__((preserve_access_index));

struct inet_sock {
	struct sock sk;
} __attribute__((preserve_access_index));

struct inet_connection_sock {
	struct inet_sock icsk_inet;
	u64 icsk_ca_priv[13];
} __attribute__((preserve_access_index));

struct tcp_sock {
	struct inet_connection_sock inet_conn;
	u32 snd_cwnd, snd_cwnd_cnt, snd_cwnd_clamp, snd_ssthresh, lsndtime, snd_una, snd_nxt;
	u64 tcp_mstamp;
} __attribute__((preserve_access_index));

struct ack_sample {
	u32 pkts_acked;
	s32 rtt_us;
} __attribute__((preserve_access_index));

enum tcp_ca_event { CA_EVENT_TX_START, CA_EVENT_CWND_RESTART, CA_EVENT_COMPLETE_CWR, CA_EVENT_LOSS, CA_EVENT_ECN_NO_CE, CA_EVENT_ECN_IS_CE };

struct tcp_congestion_ops {
	char name[16];
	u32 (*ssthresh)(struct sock *sk);
	void (*cong_avoid)(struct sock *sk, u32 ack, u32 acked);
	void (*set_state)(struct sock *sk, u8 state);
	void (*cwnd_event)(struct sock *sk, enum tcp_ca_event event);
	void (*pkts_acked)(struct sock *sk, const struct ack_sample *sample);
	u32 (*undo_cwnd)(struct sock *sk);
	void (*init)(struct sock *sk);
} __attribute__((preserve_access_index));

extern void cubictcp_init(struct sock *sk) ksym;
extern u32 cubictcp_recalc_ssthresh(struct sock *sk) ksym;
extern void cubictcp_cong_avoid(struct sock *sk, u32 ack, u32 acked) ksym;
extern void cubictcp_state(struct sock *sk, u8 state) ksym;
extern void cubictcp_cwnd_event(struct sock *sk, enum tcp_ca_event event) ksym;
extern void cubictcp_acked(struct sock *sk, const struct ack_sample *sample) ksym;
extern u32 tcp_reno_undo_cwnd(struct sock *sk) ksym;

static u64 (*jiffies64)(void) = (void *)118;

enum member { INIT = 1, SSTHRESH, CONG_AVOID, SET_STATE, CWND_EVENT, PKTS_ACKED };

struct moment {
	u32 cwnd, cnt, ssthresh, jiffies;
	u64 priv[8];
};

struct call {
	u64 pacing, mstamp;
	u32 member, arg, status, gso, clamp, sent, una, nxt, ret, pad;
	struct moment before, after;
};

#define MOST 2048
u32 calls, avoided, cut, last;
struct call noted[MOST];

static void moment(struct moment *m, struct tcp_sock *tp)
{
	m->cwnd = tp->snd_cwnd;
	m->cnt = tp->snd_cwnd_cnt;
	m->ssthresh = tp->snd_ssthresh;
	m->jiffies = jiffies64();
	for (int i = 0; i < 8; i++)
		m->priv[i] = tp->inet_conn.icsk_ca_priv[i];
}

/* The first calls are noted, and then some of each tick. */
static struct call *note(u32 member, struct tcp_sock *tp, u32 arg)
{
	u32 now = jiffies64();

	if (member >= CONG_AVOID && calls > MOST / 2 && now == last)
		return 0;
	if (member == CONG_AVOID)
		last = now;
	u32 n = calls;
	if (n >= MOST)
		return 0;
	calls = n + 1;
	struct call *c = &noted[n & (MOST - 1)];
	c->member = member;
	c->arg = arg;
	c->pacing = tp->inet_conn.icsk_inet.sk.sk_pacing_rate;
	c->status = tp->inet_conn.icsk_inet.sk.sk_pacing_status;
	c->gso = tp->inet_conn.icsk_inet.sk.sk_gso_max_size;
	c->mstamp = tp->tcp_mstamp;
	c->clamp = tp->snd_cwnd_clamp;
	c->sent = tp->lsndtime;
	c->una = tp->snd_una;
	c->nxt = tp->snd_nxt;
	moment(&c->before, tp);
	return c;
}

static void done(struct call *c, struct tcp_sock *tp, u32 ret)
{
	if (!c)
		return;
	c->ret = ret;
	moment(&c->after, tp);
}

static struct tcp_sock *tcp(u64 *ctx) { return (struct tcp_sock *)ctx[0]; }

SEC("struct_ops/begin") void begin(u64 *ctx)
{
	struct call *c = note(INIT, tcp(ctx), 0);
	cubictcp_init((struct sock *)tcp(ctx));
	done(c, tcp(ctx), 0);
}

SEC("struct_ops/state") void state(u64 *ctx)
{
	struct call *c = note(SET_STATE, tcp(ctx), (u8)ctx[1]);
	cubictcp_state((struct sock *)tcp(ctx), ctx[1]);
	done(c, tcp(ctx), 0);
}

SEC("struct_ops/event") void event(u64 *ctx)
{
	struct call *c = note(CWND_EVENT, tcp(ctx), ctx[1]);
	cubictcp_cwnd_event((struct sock *)tcp(ctx), ctx[1]);
	done(c, tcp(ctx), 0);
}

SEC("struct_ops/acked") void acked(u64 *ctx)
{
	struct ack_sample *sample = (struct ack_sample *)ctx[1];
	struct call *c = note(PKTS_ACKED, tcp(ctx), sample->rtt_us);
	cubictcp_acked((struct sock *)tcp(ctx), sample);
	done(c, tcp(ctx), 0);
}

SEC("struct_ops/less") u32 less(u64 *ctx)
{
	struct tcp_sock *tp = tcp(ctx);
	struct call *c = note(SSTHRESH, tp, 0);
	u32 ret = cubictcp_recalc_ssthresh((struct sock *)tp);
	done(c, tp, ret);
	return ret;
}

SEC("struct_ops/avoid") void avoid(u64 *ctx)
{
	struct tcp_sock *tp = tcp(ctx);
	struct call *c = note(CONG_AVOID, tp, ctx[2]);
	cubictcp_cong_avoid((struct sock *)tp, ctx[1], ctx[2]);
	done(c, tp, 0);
	/* As if there were losses: loopback has none. */
	if (++avoided % 40 == 0 && cut < 4) {
		c = note(SSTHRESH, tp, 0);
		u32 ret = cubictcp_recalc_ssthresh((struct sock *)tp);
		done(c, tp, ret);
		tp->snd_ssthresh = ret;
		tp->snd_cwnd = ret;
		cut++;
	}
}

SEC("struct_ops/undo") u32 undo(u64 *ctx) { return tcp_reno_undo_cwnd((struct sock *)ctx[0]); }

SEC(".struct_ops.link")
struct tcp_congestion_ops cubic = {
	.init = (void *)begin, .set_state = (void *)state, .cwnd_event = (void *)event, .pkts_acked = (void *)acked,
	.ssthresh = (void *)less, .cong_avoid = (void *)avoid, .undo_cwnd = (void *)undo, .name = "c_00000000",
};

char _license[] SEC("license") = "GPL";
