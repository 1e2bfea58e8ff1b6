/* Maps whose values have every kind of type, and programs, to be shown by
 * skep and by bpftool. */
#include "bpf.h"

enum colour { RED, GREEN = 7, BLUE = -1 };
enum wide { NARROW = 1, WIDE = 0x123456789a };
typedef char byte_t;
typedef short s16;

struct inner {
	u16 port;
	s16 delta;
};

struct everything {
	u8 u8v;
	signed char s8v;
	u32 u32v;
	s64 s64v;
	enum colour colour;
	enum wide wide;
	_Bool yes;
	char name[8];
	byte_t typedefed[4];
	char letter;
	void *ptr;
	struct inner inner[2];
	union {
		u32 whole;
		u8 part[4];
	};
	u32 low : 3;
	u32 high : 29;
	u64 across : 40;
	s32 negative : 5;
	__int128 huge;
	const volatile u16 qualified;
};

struct {
	__uint(type, HASH);
	__type(key, struct inner);
	__type(value, struct everything);
	__uint(max_entries, 8);
} typed SEC(".maps");

struct {
	__uint(type, PERCPU_ARRAY);
	__type(key, u32);
	__type(value, struct inner);
	__uint(max_entries, 2);
} percpu SEC(".maps");

struct {
	__uint(type, PERCPU_ARRAY);
	__uint(key_size, 4);
	__uint(value_size, 20);
	__uint(max_entries, 2);
} percpu_plain SEC(".maps");

struct {
	__uint(type, PROG_ARRAY);
	__uint(key_size, 4);
	__uint(value_size, 4);
	__uint(max_entries, 4);
} jumps SEC(".maps");

u32 counter = 3;
const volatile char bpf_metadata_author[] = "somebody";
const volatile u32 bpf_metadata_answer = 42;
const volatile u32 limit = 100;

static __noinline int helper(int x)
{
	return x * counter + limit;
}

SEC("xdp")
int a_name_longer_than_fifteen(void *ctx)
{
	struct inner key = {};
	struct everything *e = map_lookup_elem(&typed, &key);

	if (e && e->u32v > limit)
		return 2;
	trace_printk("hi %d", 6, helper(bpf_metadata_answer));
	tail_call(ctx, &jumps, 1);
	return helper(bpf_metadata_author[0]) > 100;
}

SEC("tc")
int second(void *skb)
{
	u32 zero = 0;
	struct inner *p = map_lookup_elem(&percpu, &zero);
	u64 *q = map_lookup_elem(&percpu_plain, &zero);

	if (p)
		p->port++;
	if (q)
		*q += 1;
	return 0;
}

char _license[] SEC("license") = "GPL";
