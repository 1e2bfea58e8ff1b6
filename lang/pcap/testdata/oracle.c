/* Compiles filter expressions with libpcap, for the comparison with ours.
 *
 * Each line of the input is "dlt snaplen optimise netmask mode expression",
 * where mode is d for a dead handle, and each line of the output
 * "+ code jt jf k code jt jf k ..." or "- message". What makes libpcap abort
 * or run on and on is answered with "! signal".
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
		pcap_t *p = pcap_open_dead(dlt, snaplen);
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
		pcap_close(p);
	}
	return 0;
}
