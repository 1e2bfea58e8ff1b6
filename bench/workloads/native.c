// SPDX-License-Identifier: Apache-2.0
//
// The workloads as native code. Reads lines "NAME TIMES" and answers each with
// the processor time TIMES calls took, in nanoseconds, and what the last returned; 0 0
// for names it does not know.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core.h"

static u64 counters[256];

static u32 count(const u8 *at, const u8 *end)
{
	if (at + 34 > end)
		return PASS;
	__sync_fetch_and_add(&counters[at[23]], 1);
	return PASS;
}

// What BPF tail calls and callbacks are to a compiler: calls through a pointer.
typedef u32 work(const u8 *at, const u8 *end);
static work *volatile links[9];
static u32 (*volatile stepper)(u32, u32);

#define LINK(n) static u32 link_##n(const u8 *at, const u8 *end) { return links[n + 1](at, end); }
LINK(0) LINK(1) LINK(2) LINK(3) LINK(4) LINK(5) LINK(6) LINK(7)
static u32 chain(const u8 *at, const u8 *end) { return links[0](at, end); }

static u32 step_once(u32 sum, u32 i) { return step(sum, i); }
static u32 loop(const u8 *at, const u8 *end)
{
	u32 sum = end - at;

	for (u32 i = 0; i < 1000; i++)
		sum = stepper(sum, i);
	return sum;
}

#define ONCE(work) __attribute__((noinline)) static u32 work##_once(const u8 *at, const u8 *end) { return work(at, end); }
ONCE(empty) ONCE(parse) ONCE(fnv) ONCE(jhash) ONCE(count) ONCE(checksum) ONCE(chain) ONCE(loop)

static const struct {
	const char *name;
	work *work;
} table[] = {
	{"empty", empty_once}, {"parse", parse_once}, {"fnv", fnv_once}, {"jhash", jhash_once},
	{"count", count_once}, {"checksum", checksum_once}, {"chain", chain_once}, {"loop", loop_once},
};

static u64 now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

int main(int argc, char **argv)
{
	static u8 packet[MTU];
	size_t size = argc > 1 ? strlen(argv[1]) / 2 : 0;
	char name[32];
	u64 times;

	for (size_t i = 0; i < size && i < MTU; i++)
		sscanf(argv[1] + 2 * i, "%2hhx", &packet[i]);
	links[0] = link_0, links[1] = link_1, links[2] = link_2, links[3] = link_3, links[4] = link_4;
	links[5] = link_5, links[6] = link_6, links[7] = link_7, links[8] = empty_once;
	stepper = step_once;
	while (scanf("%31s %llu", name, &times) == 2) {
		work *volatile work = NULL;
		const u8 *volatile at = packet;
		u32 result = 0;
		u64 start;

		for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++)
			if (!strcmp(table[i].name, name))
				work = table[i].work;
		start = now();
		for (u64 i = 0; work && i < times; i++)
			result = work(at, at + size);
		printf("%llu %u\n", work ? now() - start : 0, result);
		fflush(stdout);
	}
	return 0;
}
