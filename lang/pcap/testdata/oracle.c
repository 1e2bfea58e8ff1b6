/* Compiles filter expressions with libpcap, for the comparison with ours.
 *
 * Each line of the input is "dlt snaplen optimise netmask mode expression",
 * where mode says which handle to ask: d a dead one, f one of a capture file,
 * s one of a file in the other byte order, l one of a live interface. Each
 * line of the output is "+ code jt jf k code jt jf k ..." or "- message". What
 * makes libpcap abort, or run on and on, is answered with "! signal", and a
 * handle that is not to be had with "? message".
 */
#include <pcap/pcap.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static sigjmp_buf trap;

static void caught(int sig) { siglongjmp(trap, sig); }

/* A handle of a file that has no packets: dlt must be one whose LINKTYPE_ is
 * the same number. */
static pcap_t *file(int dlt, int snaplen, int swapped, char *err)
{
	unsigned header[6] = {0xa1b2c3d4, 4 << 16 | 2, 0, 0, snaplen, dlt};
	if (swapped)
		for (int i = 0; i < 6; i++)
			header[i] = i == 1 ? 0x04000200 : __builtin_bswap32(header[i]);
	FILE *f = fmemopen(NULL, sizeof header + 1, "w+");
	fwrite(header, sizeof header, 1, f);
	rewind(f);
	return pcap_fopen_offline(f, err);
}

/* A handle of a live interface of the link type: lo, or any. */
static pcap_t *live(int dlt, int snaplen, char *err)
{
	static pcap_t *kept[2];
	pcap_t **p = &kept[dlt != DLT_EN10MB];
	if (*p == NULL)
		*p = pcap_open_live(dlt == DLT_EN10MB ? "lo" : "any", snaplen, 0, 100, err);
	if (*p != NULL && pcap_datalink(*p) != dlt && pcap_set_datalink(*p, dlt) < 0) {
		snprintf(err, PCAP_ERRBUF_SIZE, "%s", pcap_geterr(*p));
		return NULL;
	}
	return *p;
}

int main(int argc, char **argv)
{
	static char line[1 << 21];
	int sigs[] = {SIGABRT, SIGSEGV, SIGFPE, SIGALRM};
	for (size_t i = 0; i < sizeof sigs / sizeof *sigs; i++) {
		struct sigaction sa = {.sa_handler = caught, .sa_flags = SA_NODEFER};
		sigaction(sigs[i], &sa, NULL);
	}
	int rounds = argc > 1 ? atoi(argv[1]) : 0; /* measure instead */
	while (fgets(line, sizeof line, stdin)) {
		int dlt, snaplen, optimise, at = 0;
		unsigned netmask;
		char mode;
		line[strcspn(line, "\n")] = 0;
		if (sscanf(line, "%d %d %d %u %c%n", &dlt, &snaplen, &optimise, &netmask, &mode, &at) != 5)
			return 2;
		char *expr = line + at + (line[at] == ' ');
		char err[PCAP_ERRBUF_SIZE] = "";
		pcap_t *p = mode == 'l' ? live(dlt, snaplen, err)
		          : mode == 'd' ? pcap_open_dead(dlt, snaplen)
		                        : file(dlt, snaplen, mode == 's', err);
		if (p == NULL) {
			printf("? %s\n", err);
			fflush(stdout);
			continue;
		}
		struct bpf_program prog;
		int sig = sigsetjmp(trap, 1);
		if (sig != 0) {
			alarm(0);
			printf("! %d\n", sig);
			fflush(stdout);
			continue; /* the handle is in no known state: leave it */
		}
		alarm(5);
		if (rounds > 0) {
			struct timespec t0, t1;
			clock_gettime(CLOCK_MONOTONIC, &t0);
			for (int i = 0; i < rounds; i++)
				if (pcap_compile(p, &prog, expr, optimise, netmask) == 0)
					pcap_freecode(&prog);
			clock_gettime(CLOCK_MONOTONIC, &t1);
			printf("%.0f\n", ((t1.tv_sec - t0.tv_sec) * 1e9 + (t1.tv_nsec - t0.tv_nsec)) / rounds);
		} else if (pcap_compile(p, &prog, expr, optimise, netmask) < 0) {
			char *msg = pcap_geterr(p);
			printf("- %.*s\n", (int)strcspn(msg, "\n"), msg);
		} else {
			putchar('+');
			for (unsigned i = 0; i < prog.bf_len; i++) {
				struct bpf_insn *b = &prog.bf_insns[i];
				printf(" %x %x %x %x", b->code, b->jt, b->jf, b->k);
			}
			putchar('\n');
			pcap_freecode(&prog);
		}
		alarm(0);
		fflush(stdout);
		if (mode != 'l')
			pcap_close(p);
	}
	return 0;
}
