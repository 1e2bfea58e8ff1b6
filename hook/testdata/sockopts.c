/* A TCP congestion control that sets and reads options of its connection, keeps a value with it and sends
 * acknowledgments. What came of it is in results. */
typedef unsigned char u8;
typedef unsigned int u32;
typedef int s32;
typedef unsigned long long u64;
#define SEC(name) __attribute__((section(name), used))
#define ksym __attribute__((section(".ksyms")))

struct sock_common {
	unsigned short skc_family;
} __attribute__((preserve_access_index));

struct sock {
	struct sock_common __sk_common;
	u32 sk_mark, sk_priority;
} __attribute__((preserve_access_index));

struct inet_sock {
	struct sock sk;
} __attribute__((preserve_access_index));

struct inet_connection_sock {
	struct inet_sock icsk_inet;
} __attribute__((preserve_access_index));

struct tcp_sock {
	struct inet_connection_sock inet_conn;
	u32 snd_cwnd, snd_cwnd_cnt, snd_cwnd_clamp, snd_ssthresh, segs_out, rcv_nxt;
} __attribute__((preserve_access_index));

struct tcp_congestion_ops {
	char name[16];
	u32 (*ssthresh)(struct sock *sk);
	void (*cong_avoid)(struct sock *sk, u32 ack, u32 acked);
	u32 (*undo_cwnd)(struct sock *sk);
	void (*init)(struct sock *sk);
	void (*release)(struct sock *sk);
} __attribute__((preserve_access_index));

extern u32 tcp_reno_ssthresh(struct sock *sk) ksym;
extern u32 tcp_reno_undo_cwnd(struct sock *sk) ksym;
extern void tcp_reno_cong_avoid(struct sock *sk, u32 ack, u32 acked) ksym;

static long (*setsockopt)(void *sk, int level, int name, void *value, int len) = (void *)49;
static long (*getsockopt)(void *sk, int level, int name, void *value, int len) = (void *)57;
static void *(*storage_get)(void *map, void *sk, void *value, u64 flags) = (void *)107;
static long (*storage_delete)(void *map, void *sk) = (void *)108;
static long (*send_ack)(void *tp, u32 rcv_nxt) = (void *)116;

enum { SOL_SOCKET = 1, SOL_TCP = 6, SO_PRIORITY = 12, SO_MARK = 36, TCP_NODELAY = 1, TCP_CONGESTION = 13, TCP_BPF_IW = 1001, TCP_BPF_SNDCWND_CLAMP };

struct {
	int (*type)[24]; /* BPF_MAP_TYPE_SK_STORAGE */
	int (*map_flags)[1];
	int *key;
	u64 *value;
} kept SEC(".maps");

#define MOST 64
u32 count, avoided;
s32 results[MOST];
char name[16];
u64 at_end;

static void result(s32 v)
{
	u32 n = count++;
	if (n < MOST)
		results[n] = v;
}

static s32 set(void *sk, int level, int option, s32 v) { return setsockopt(sk, level, option, &v, sizeof(v)); }

static void get(void *sk, int level, int option)
{
	s32 v = -1;
	result(getsockopt(sk, level, option, &v, sizeof(v)));
	result(v);
}

static s32 switch_to(void *sk, const char *to)
{
	char b[16] = {};
	for (int i = 0; i < 15 && to[i]; i++)
		b[i] = to[i];
	return setsockopt(sk, SOL_TCP, TCP_CONGESTION, b, sizeof(b));
}

SEC("struct_ops/begin") void begin(u64 *ctx)
{
	struct tcp_sock *tp = (struct tcp_sock *)ctx[0];
	u64 first = 41, *v;

	result(set(tp, SOL_TCP, TCP_NODELAY, 1));
	get(tp, SOL_TCP, TCP_NODELAY);
	result(set(tp, SOL_SOCKET, SO_MARK, 7));
	get(tp, SOL_SOCKET, SO_MARK);
	result(tp->inet_conn.icsk_inet.sk.sk_mark);
	result(set(tp, SOL_SOCKET, SO_PRIORITY, 3));
	get(tp, SOL_SOCKET, SO_PRIORITY);
	result(tp->inet_conn.icsk_inet.sk.sk_priority);
	result(set(tp, 99, 1, 1));
	result(set(tp, SOL_TCP, TCP_BPF_SNDCWND_CLAMP, 100));
	result(tp->snd_cwnd_clamp);
	result(tp->snd_ssthresh);
	result(set(tp, SOL_TCP, TCP_BPF_IW, 20));
	result(tp->snd_cwnd);
	result(getsockopt(tp, SOL_TCP, TCP_CONGESTION, name, sizeof(name)));
	result(setsockopt(tp, SOL_TCP, TCP_CONGESTION, name, sizeof(name)));
	result(switch_to(tp, "no_such"));
	result(switch_to(tp, "cdg"));

	v = storage_get(&kept, tp, 0, 0);
	result(v != 0);
	v = storage_get(&kept, tp, &first, 1);
	result(v ? *v : -1);
	result(storage_delete(&kept, tp));
	result(storage_delete(&kept, tp));
	v = storage_get(&kept, tp, &first, 1);
	result(v ? ++*v : -1);
}

SEC("struct_ops/avoid") void avoid(u64 *ctx)
{
	struct tcp_sock *tp = (struct tcp_sock *)ctx[0];
	u64 *v = storage_get(&kept, tp, 0, 0);

	if (v)
		++*v;
	if (!avoided++) {
		u32 before = tp->segs_out;
		result(set(tp, SOL_TCP, TCP_BPF_IW, 30));
		result(send_ack(tp, tp->rcv_nxt));
		result(tp->segs_out - before);
	}
	tcp_reno_cong_avoid((struct sock *)tp, ctx[1], ctx[2]);
}

SEC("struct_ops/end") void end(u64 *ctx)
{
	u64 *v = storage_get(&kept, (void *)ctx[0], 0, 0);
	at_end = v ? *v - avoided : 0;
}

SEC("struct_ops/halve") u32 halve(u64 *ctx) { return tcp_reno_ssthresh((struct sock *)ctx[0]); }
SEC("struct_ops/undo") u32 undo(u64 *ctx) { return tcp_reno_undo_cwnd((struct sock *)ctx[0]); }

SEC(".struct_ops.link")
struct tcp_congestion_ops options = {
	.init = (void *)begin, .release = (void *)end, .cong_avoid = (void *)avoid, .ssthresh = (void *)halve, .undo_cwnd = (void *)undo,
	.name = "c_00000000",
};

char _license[] SEC("license") = "GPL";
