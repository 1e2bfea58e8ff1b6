/* Global variables: every section, addends, strings, static and hidden ones. */
#include "bpf.h"

const volatile u32 limit = 100;
const volatile u64 table[4] = { 1, 2, 3, 4 };
static const volatile u16 small = 9;
const volatile char motto[8] = "skep";
enum mode { OFF, ON, AUTO = 7 };
const volatile enum mode mode = ON;

u32 counter = 5;
u64 sums[8];
static volatile u32 hits;
struct pair {
	u32 a;
	s64 b;
} pair = { .a = 1, .b = -2 };
u32 cold SEC(".data.cold") = 77;
u64 hot SEC(".bss.hot");
const volatile u32 named SEC(".rodata.named") = 3;
__hidden u32 concealed SEC(".data.hidden") = 4;

SEC("xdp") int entry(u32 *ctx)
{
	u32 i = ctx[3] & 3;

	hits++;
	counter += limit + small + named + mode;
	sums[i + 2] += table[i];
	pair.b += motto[i];
	cold++;
	hot += 2;
	concealed--;
	trace_printk("hello %d\n", 10, hits);
	return counter;
}

char _license[] SEC("license") = "GPL";
