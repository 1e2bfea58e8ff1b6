// AF_XDP by system calls, as a program that nobody adapted makes them: what is refused, and packets that two sockets at
// the ends of a pair send each other. It prints what happens. Arguments: the indexes of the two devices.
#define _GNU_SOURCE
#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/if_xdp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef AF_XDP
#define AF_XDP 44
#endif
#ifndef SOL_XDP
#define SOL_XDP 283
#endif

static const char *result(long r)
{
	return r >= 0 ? "ok" : strerrorname_np(errno);
}

#define TRY(...) do { errno = 0; long r_ = (__VA_ARGS__); printf("%s: %s\n", #__VA_ARGS__, result(r_)); } while (0)

enum { CHUNK = 2048, CHUNKS = 64, ENTRIES = 16 };

struct ring {
	unsigned *producer, *consumer, *flags;
	void *desc;
	unsigned size;
};

struct sock {
	int fd;
	char *umem;
	struct ring rx, tx, fill, comp;
};

static int set(int fd, int opt, unsigned v) { return setsockopt(fd, SOL_XDP, opt, &v, sizeof(v)); }

static int reg(int fd, void *addr, unsigned long len, unsigned chunk, unsigned headroom, unsigned flags)
{
	struct xdp_umem_reg r = {.addr = (unsigned long)addr, .len = len, .chunk_size = chunk, .headroom = headroom, .flags = flags};
	return setsockopt(fd, SOL_XDP, XDP_UMEM_REG, &r, sizeof(r));
}

static int bindto(int fd, int ifindex, int queue, int flags, int shared)
{
	struct sockaddr_xdp a = {.sxdp_family = AF_XDP, .sxdp_flags = flags, .sxdp_ifindex = ifindex, .sxdp_queue_id = queue, .sxdp_shared_umem_fd = shared};
	return bind(fd, (struct sockaddr *)&a, sizeof(a));
}

static void *map(int fd, size_t len, long off)
{
	return mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, off);
}

static long mapped(int fd, size_t len, long off)
{
	void *p = map(fd, len, off);
	return p == MAP_FAILED ? -1 : munmap(p, len);
}

static void *memory(size_t n) { return mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); }

static struct ring ring(int fd, int opt, long off, const struct xdp_ring_offset *o, unsigned size, int desc)
{
	char *p;
	if (set(fd, opt, size) || (p = map(fd, o->desc + size * desc, off)) == MAP_FAILED) {
		perror("ring");
		exit(1);
	}
	return (struct ring){(void *)(p + o->producer), (void *)(p + o->consumer), (void *)(p + o->flags), p + o->desc, size};
}

static struct sock make(void)
{
	struct sock s = {.fd = socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0), .umem = memory(CHUNK * CHUNKS)};
	struct xdp_mmap_offsets o;
	socklen_t n = sizeof(o);
	if (reg(s.fd, s.umem, CHUNK * CHUNKS, CHUNK, 0, 0) || getsockopt(s.fd, SOL_XDP, XDP_MMAP_OFFSETS, &o, &n)) {
		perror("umem");
		exit(1);
	}
	s.fill = ring(s.fd, XDP_UMEM_FILL_RING, XDP_UMEM_PGOFF_FILL_RING, &o.fr, ENTRIES, 8);
	s.comp = ring(s.fd, XDP_UMEM_COMPLETION_RING, XDP_UMEM_PGOFF_COMPLETION_RING, &o.cr, ENTRIES, 8);
	s.rx = ring(s.fd, XDP_RX_RING, XDP_PGOFF_RX_RING, &o.rx, ENTRIES, sizeof(struct xdp_desc));
	s.tx = ring(s.fd, XDP_TX_RING, XDP_PGOFF_TX_RING, &o.tx, ENTRIES, sizeof(struct xdp_desc));
	return s;
}

static void put_fill(struct sock *s, int n)
{
	unsigned p = *s->fill.producer;
	for (int i = 0; i < n; i++, p++)
		((__u64 *)s->fill.desc)[p % ENTRIES] = (__u64)(p % ENTRIES) * CHUNK;
	__atomic_store_n(s->fill.producer, p, __ATOMIC_RELEASE);
}

// put_tx puts n frames into the tx ring, whose chunks lie behind those of the fill ring.
static void put_tx(struct sock *s, int n, int mark)
{
	unsigned p = *s->tx.producer;
	for (int i = 0; i < n; i++, p++) {
		__u64 addr = (__u64)(ENTRIES + p % ENTRIES) * CHUNK + 100;
		int len = 60 + i;
		for (int j = 0; j < len; j++)
			s->umem[addr + j] = j;
		memcpy(s->umem + addr, "\x02\0\0\0\0\1\x02\0\0\0\0\2\x88\xb5", 14);
		s->umem[addr + 14] = mark + i;
		((struct xdp_desc *)s->tx.desc)[p % ENTRIES] = (struct xdp_desc){.addr = addr, .len = len};
	}
	__atomic_store_n(s->tx.producer, p, __ATOMIC_RELEASE);
}

static int waiting(struct ring *r) { return __atomic_load_n(r->producer, __ATOMIC_ACQUIRE) - *r->consumer; }

static int readable(int fd, int ms)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	return poll(&p, 1, ms);
}

// take prints n packets as they come.
static void take(const char *who, struct sock *s, int n)
{
	for (int got = 0; got < n;) {
		if (readable(s->fd, 5000) != 1) {
			printf("%s: nothing more after %d\n", who, got);
			return;
		}
		for (; waiting(&s->rx); got++) {
			struct xdp_desc *d = (struct xdp_desc *)s->rx.desc + *s->rx.consumer % ENTRIES;
			int right = 1;
			for (int j = 15; j < (int)d->len; j++)
				right &= s->umem[d->addr + j] == (char)j;
			printf("%s: %d bytes at %llu, options %u, marked %d, right %d\n", who, d->len, (unsigned long long)d->addr % CHUNK, d->options, s->umem[d->addr + 14], right);
			__atomic_store_n(s->rx.consumer, *s->rx.consumer + 1, __ATOMIC_RELEASE);
		}
	}
}

static void completed(const char *who, struct sock *s, int n)
{
	for (int i = 0; waiting(&s->comp) < n && i < 5000; i++)
		usleep(1000);
	printf("%s: %d completed:", who, waiting(&s->comp));
	for (; waiting(&s->comp); __atomic_store_n(s->comp.consumer, *s->comp.consumer + 1, __ATOMIC_RELEASE))
		printf(" %llu", ((unsigned long long *)s->comp.desc)[*s->comp.consumer % ENTRIES]);
	printf("\n");
}

static void statistics(const char *who, int fd)
{
	struct xdp_statistics st = {};
	struct xdp_options o = {};
	socklen_t n = sizeof(st), m = sizeof(o);
	TRY(getsockopt(fd, SOL_XDP, XDP_STATISTICS, &st, &n));
	TRY(getsockopt(fd, SOL_XDP, XDP_OPTIONS, &o, &m));
	printf("%s: %d %d: %llu %llu %llu %llu %llu, %u\n", who, n, m, st.rx_dropped, st.rx_invalid_descs, st.tx_invalid_descs, st.rx_ring_full, st.rx_fill_ring_empty_descs, o.flags);
}

static int update(int m, unsigned key, int fd) { return bpf_map_update_elem(m, &key, &fd, 0); }

static long has(int m, unsigned key) { return bpf_map_delete_elem(m, &key); }

static void refusals(int a)
{
	static char big[64];
	socklen_t n;
	int fd, two;

	TRY(socket(AF_XDP, SOCK_STREAM, 0));
	TRY(socket(AF_XDP, SOCK_DGRAM, 0));
	TRY(socket(AF_XDP, SOCK_RAW, 1));
	TRY(socket(AF_XDP, SOCK_RAW | 1 << 20, 0));
	TRY(fd = socket(AF_XDP, SOCK_RAW, 0));
	printf("close on exec %d\n", fcntl(fd, F_GETFD));
	for (int opt = 0; opt < 12; opt++)
		for (int len = 0; len <= 40; len += 4) {
			if (opt == 9) // XDP_MAX_TX_SKB_BUDGET
				continue;
			memset(big, 0, sizeof(big));
			int r = setsockopt(fd, SOL_XDP, opt, big, len);
			printf("setsockopt %d %d: %s\n", opt, len, result(r));
		}
	TRY(setsockopt(fd, SOL_XDP, XDP_RX_RING, NULL, 4));
	TRY(setsockopt(fd, SOL_XDP, XDP_UMEM_REG, (void *)1, 32));
	for (int opt = 0; opt < 12; opt++)
		for (int len = 0; len <= 132; len += 4) {
			unsigned char out[256];
			memset(out, 0xee, sizeof(out));
			n = len;
			int r = getsockopt(fd, SOL_XDP, opt, out, &n), used = 0;
			for (int i = 0; i < 256; i++)
				if (out[i] != 0xee)
					used = i + 1;
			printf("getsockopt %d %d: %s %d %d\n", opt, len, result(r), n, used);
		}
	n = -1;
	TRY(getsockopt(fd, SOL_XDP, XDP_OPTIONS, big, &n));
	TRY(getsockopt(fd, SOL_XDP, XDP_OPTIONS, big, NULL));
	n = 4;
	TRY(getsockopt(fd, SOL_XDP, XDP_OPTIONS, NULL, &n));

	char *m = memory(1 << 20);
	TRY(mapped(fd, 4096, XDP_PGOFF_RX_RING));
	TRY(mapped(fd, 4096, XDP_UMEM_PGOFF_FILL_RING));
	TRY(reg(fd, m + 1, 1 << 16, 2048, 0, 0));
	TRY(reg(fd, m, 0, 2048, 0, 0));
	TRY(reg(fd, m, -4096ul, 2048, 0, 0));
	TRY(reg(fd, m, 1000, 2048, 0, 0));
	TRY(reg(fd, m, 1 << 16, 1000, 0, 0));
	TRY(reg(fd, m, 1 << 16, 2048, 2000, 0));
	TRY(reg(fd, m, 1 << 16, 2048, 0, 1 << 10));
	TRY(reg(fd, NULL, 1 << 16, 2048, 0, 0));
	TRY(munmap(m + (1 << 16), 4096));
	TRY(reg(fd, m, 1 << 17, 2048, 0, 0));
	TRY(mprotect(m + (1 << 15), 4096, PROT_READ));
	TRY(reg(fd, m, 1 << 16, 2048, 0, 0));
	TRY(mprotect(m + (1 << 15), 4096, PROT_READ | PROT_WRITE));
	TRY(bindto(fd, a, 0, 0, 0));
	TRY(set(fd, XDP_RX_RING, 8));
	TRY(set(fd, XDP_RX_RING, 8));
	TRY(set(fd, XDP_TX_RING, 0));
	TRY(set(fd, XDP_TX_RING, 7));
	TRY(mapped(fd, 4096, XDP_PGOFF_RX_RING));
	TRY(mapped(fd, 8192, XDP_PGOFF_RX_RING));
	TRY(mapped(fd, 4096, XDP_PGOFF_TX_RING));
	TRY(mapped(fd, 4096, 4096));
	TRY(bindto(fd, a, 0, 0, 0));
	TRY(reg(fd, m, 1 << 16, 2048, 0, 0));
	TRY(reg(fd, m, 1 << 16, 2048, 0, 0));
	TRY(reg(fd, m + 1, 1 << 16, 2048, 0, 0));
	TRY(bindto(fd, a, 0, 0, 0));
	TRY(set(fd, XDP_UMEM_FILL_RING, 8));
	TRY(set(fd, XDP_UMEM_COMPLETION_RING, 8));
	TRY(bind(fd, (struct sockaddr *)big, sizeof(struct sockaddr_xdp)));
	TRY(bind(fd, (struct sockaddr *)big, 8));
	TRY(bind(fd, NULL, sizeof(struct sockaddr_xdp)));
	TRY(bindto(fd, 4711, 0, 0, 0));
	TRY(bindto(fd, a, 9, 0, 0));
	TRY(bindto(fd, a, 0, 1 << 9, 0));
	TRY(bindto(fd, a, 0, XDP_COPY | XDP_ZEROCOPY, 0));
	TRY(bindto(fd, a, 0, XDP_ZEROCOPY, 0));
	TRY(bindto(fd, a, 0, XDP_SHARED_UMEM, 0));
	TRY(sendto(fd, NULL, 0, MSG_DONTWAIT, NULL, 0));
	TRY(sendto(fd, NULL, 0, 0, NULL, 0));
	TRY(recvfrom(fd, NULL, 0, MSG_DONTWAIT, NULL, NULL));
	TRY(bindto(fd, a, 0, XDP_COPY, 0));
	TRY(bindto(fd, a, 0, XDP_COPY, 0));
	TRY(sendto(fd, NULL, 0, MSG_DONTWAIT, NULL, 0));
	TRY(sendto(fd, NULL, 0, 0, NULL, 0));
	TRY(recvfrom(fd, NULL, 0, MSG_DONTWAIT, NULL, NULL));
	TRY(set(fd, XDP_TX_RING, 8));
	TRY(mapped(fd, 4096, XDP_UMEM_PGOFF_FILL_RING));
	TRY(mapped(fd, 4096, XDP_PGOFF_TX_RING));
	statistics("refused", fd);
	TRY(two = socket(AF_XDP, SOCK_RAW, 0));
	TRY(set(two, XDP_RX_RING, 8));
	TRY(bindto(two, a, 0, XDP_SHARED_UMEM, 77));
	TRY(bindto(two, a, 0, XDP_SHARED_UMEM, two));
	TRY(bindto(two, a, 0, XDP_SHARED_UMEM, 1));
	TRY(bindto(two, a, 0, XDP_SHARED_UMEM, fd));
	TRY(close(fd));
	TRY(close(two));
	munmap(m, 1 << 16);
}

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IONBF, 0);
	int a = atoi(argv[1]), b = atoi(argv[2]);
	refusals(a);

	struct sock x = make(), y = make();
	int xsks = bpf_map_create(BPF_MAP_TYPE_XSKMAP, "xsks", 4, 4, 4, NULL), null = open("/dev/null", O_RDWR), udp = socket(AF_INET, SOCK_DGRAM, 0);
	TRY(update(xsks, 0, null));
	TRY(update(xsks, 0, udp));
	TRY(update(xsks, 0, xsks));
	TRY(update(xsks, 0, 999));
	TRY(update(xsks, 0, -1));
	TRY(update(xsks, 4, x.fd));
	TRY(update(xsks, 0, x.fd));
	TRY(has(xsks, 0));

	// The kernel lets the queue of a socket that was closed go a little later.
	int r;
	for (int i = 0; (r = bindto(x.fd, a, 0, XDP_USE_NEED_WAKEUP | XDP_COPY, 0)) && errno == EBUSY && i < 5000; i++)
		usleep(1000);
	printf("bound: %s\n", result(r));
	TRY(bindto(y.fd, b, 0, XDP_USE_NEED_WAKEUP | XDP_COPY, 0));
	printf("wakeups: %u %u\n", *x.tx.flags, *x.fill.flags);
	TRY(update(xsks, 0, x.fd));
	TRY(update(xsks, 1, y.fd));
	int progs[2], links[2];
	for (int i = 0; i < 2; i++) {
		struct bpf_insn code[] = {
			{BPF_LD | BPF_DW | BPF_IMM, 1, BPF_PSEUDO_MAP_FD, 0, xsks}, {}, // the map
			{BPF_ALU64 | BPF_MOV | BPF_K, 2, 0, 0, i},
			{BPF_ALU64 | BPF_MOV | BPF_K, 3, 0, 0, XDP_DROP},
			{BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_redirect_map},
			{BPF_JMP | BPF_EXIT},
		};
		progs[i] = bpf_prog_load(BPF_PROG_TYPE_XDP, "to_socket", "GPL", code, sizeof(code) / sizeof(code[0]), NULL);
		TRY(links[i] = bpf_link_create(progs[i], i ? b : a, BPF_XDP, NULL));
	}

	// Nothing can be read, then something, then nothing again.
	printf("readable: %d\n", readable(y.fd, 0));
	put_fill(&x, ENTRIES);
	put_fill(&y, ENTRIES);
	put_tx(&x, 5, 1);
	TRY(sendto(x.fd, NULL, 0, MSG_DONTWAIT, NULL, 0));
	take("y", &y, 5);
	completed("x", &x, 5);
	for (int i = 0; readable(y.fd, 0) && i < 5000; i++)
		usleep(1000);
	printf("readable: %d\n", readable(y.fd, 20));
	put_tx(&y, 10, 50);
	TRY(sendto(y.fd, NULL, 0, MSG_DONTWAIT, NULL, 0));
	take("x", &x, 10);
	completed("y", &y, 10);

	// Who polls has sent what waits.
	put_tx(&x, 3, 70);
	struct pollfd out = {.fd = x.fd, .events = POLLOUT};
	printf("writable: %d", poll(&out, 1, 5000));
	printf(" %d\n", (out.revents & POLLOUT) != 0);
	take("y", &y, 3);
	completed("x", &x, 3);

	// epoll, and a packet that comes while it waits.
	int ep = epoll_create1(0);
	struct epoll_event ev = {.events = EPOLLIN, .data.u32 = 4};
	TRY(epoll_ctl(ep, EPOLL_CTL_ADD, y.fd, &ev));
	if (fork() == 0) {
		usleep(30000);
		put_tx(&x, 1, 90);
		_exit(sendto(x.fd, NULL, 0, MSG_DONTWAIT, NULL, 0) != 0);
	}
	printf("epoll: %d\n", epoll_wait(ep, &ev, 1, 5000));
	int status;
	wait(&status);
	printf("child: %d\n", status);
	take("y", &y, 1);
	completed("x", &x, 1);

	// There is no more to fill: packets are dropped, and counted.
	put_tx(&x, 9, 100);
	TRY(sendto(x.fd, NULL, 0, MSG_DONTWAIT, NULL, 0));
	take("y", &y, 7);
	completed("x", &x, 9);
	for (int i = 0; i < 5000; i++) {
		struct xdp_statistics st = {};
		socklen_t n = sizeof(st);
		getsockopt(y.fd, SOL_XDP, XDP_STATISTICS, &st, &n);
		if (st.rx_dropped)
			break;
		usleep(1000);
	}
	statistics("x", x.fd);
	statistics("y", y.fd);

	// A socket is there until the last descriptor is closed.
	int twin = dup(y.fd);
	close(y.fd);
	put_fill(&y, 1);
	put_tx(&x, 1, 120);
	TRY(sendto(x.fd, NULL, 0, MSG_DONTWAIT, NULL, 0));
	y.fd = twin;
	take("y", &y, 1);
	TRY(has(xsks, 1));
	TRY(update(xsks, 1, twin));
	TRY(close(twin));
	struct sock z = make(); // y's rings are mapped still: its queue is not free
	TRY(bindto(z.fd, b, 0, XDP_COPY, 0));
	return 0;
}
