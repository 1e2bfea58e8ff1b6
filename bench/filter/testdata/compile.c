// SPDX-License-Identifier: Apache-2.0
//
// Compiles filter expressions with libpcap. Reads lines "TIMES EXPRESSION" and
// answers each with the processor time that took, in nanoseconds; -1 for an expression
// libpcap refuses.
#include <pcap/pcap.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static long long now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return t.tv_sec * 1000000000ll + t.tv_nsec;
}

int main(void)
{
	pcap_t *handle = pcap_open_dead(DLT_EN10MB, 262144);
	static char line[4096];
	int times, at;

	while (fgets(line, sizeof(line), stdin)) {
		struct bpf_program program;
		long long start = now();
		int refused = 0;

		line[strcspn(line, "\n")] = 0;
		if (sscanf(line, "%d %n", &times, &at) != 1)
			return 1;
		for (int i = 0; i < times && !refused; i++) {
			refused = pcap_compile(handle, &program, line + at, 1, PCAP_NETMASK_UNKNOWN) < 0;
			if (!refused)
				pcap_freecode(&program);
		}
		printf("%lld\n", refused ? -1 : now() - start);
		fflush(stdout);
	}
	return 0;
}
