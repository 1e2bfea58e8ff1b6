// A program on a light skeleton (bpftool gen skeleton -L), for TestLightSkeleton.
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include "lskel.lskel.h"

// descriptors tells which numbers are open for bpf(2), of those above the standard ones.
static void descriptors(const char *when)
{
	char info[256];
	union bpf_attr a;

	printf("%s:", when);
	for (int fd = 3; fd < 32; fd++) {
		memset(&a, 0, sizeof a);
		memset(info, 0, sizeof info);
		a.info.bpf_fd = fd;
		a.info.info_len = sizeof info;
		a.info.info = (long)info;
		if (!skel_sys_bpf(BPF_OBJ_GET_INFO_BY_FD, &a, sizeof a.info))
			printf(" %d", fd);
	}
	printf("\n");
}

int main(void)
{
	static char log[1 << 16];
	unsigned char packet[64] = {0};
	union bpf_attr a;
	struct lskel_bpf *s = lskel_bpf__open();

	s->rodata->step = 2;
	s->ctx.log_level = 1;
	s->ctx.log_size = sizeof log;
	s->ctx.log_buf = (long)log;
	printf("load: %d\n", lskel_bpf__load(s));
	printf("log: %d, step %d, total %ld\n", !!strstr(log, "processed "), s->rodata->step, s->data->total);
	descriptors("loaded");
	printf("attach: %d\n", lskel_bpf__attach(s));
	descriptors("attached");
	memset(&a, 0, sizeof a);
	a.test.prog_fd = s->progs.count.prog_fd;
	a.test.data_in = (long)packet;
	a.test.data_size_in = sizeof packet;
	printf("run: %d", skel_sys_bpf(BPF_PROG_TEST_RUN, &a, sizeof a));
	printf(", %d, total %ld\n", a.test.retval, s->data->total);
	lskel_bpf__destroy(s);
	descriptors("destroyed");
	for (int i = 0; i < 3; i++) { // and nothing piles up
		s = lskel_bpf__open_and_load();
		descriptors("again");
		lskel_bpf__destroy(s);
	}
	printf("next: %d\n", dup(0));

	s = lskel_bpf__open(); // what cannot be loaded leaves nothing behind
	s->maps.seen.max_entries = -1;
	printf("too large: %d\n", lskel_bpf__load(s));
	lskel_bpf__destroy(s);
	s = lskel_bpf__open();
	s->ctx.log_level = 1;
	s->ctx.log_size = sizeof log;
	s->ctx.log_buf = 8;
	printf("no log: %d\n", lskel_bpf__load(s));
	lskel_bpf__destroy(s);
	s = lskel_bpf__open();
	munmap(s->rodata, 4096);
	s->maps.rodata.initial_value = 8;
	printf("no data: %d\n", lskel_bpf__load(s));
	lskel_bpf__destroy(s);
	descriptors("after failures");
	return 0;
}
