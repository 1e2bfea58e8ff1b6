// SPDX-License-Identifier: Apache-2.0
//
// The workloads as a WebAssembly module: packet() is where the host puts the
// packet, every other export takes that place and the packet's size.
#include "core.h"

static u8 memory[MTU];
static u64 counters[256];

#define EXPORT(name) __attribute__((export_name(name), noinline))
#define ONCE(work) EXPORT(#work) u32 work##_once(const u8 *at, u32 size) { return work(at, at + size); }

EXPORT("packet") u8 *packet(void) { return memory; }

INLINE u32 count(const u8 *at, const u8 *end)
{
	if (at + 34 > end)
		return PASS;
	__sync_fetch_and_add(&counters[at[23]], 1);
	return PASS;
}

typedef u32 work(const u8 *at, const u8 *end);
static work *volatile links[9];
static u32 (*volatile stepper)(u32, u32);

#define LINK(n) static u32 link_##n(const u8 *at, const u8 *end) { return links[n + 1](at, end); }
LINK(0) LINK(1) LINK(2) LINK(3) LINK(4) LINK(5) LINK(6) LINK(7)
static u32 last(const u8 *at, const u8 *end) { return empty(at, end); }
INLINE u32 chain(const u8 *at, const u8 *end) { return links[0](at, end); }

static u32 step_once(u32 sum, u32 i) { return step(sum, i); }
INLINE u32 loop(const u8 *at, const u8 *end)
{
	u32 sum = end - at;

	for (u32 i = 0; i < 1000; i++)
		sum = stepper(sum, i);
	return sum;
}

ONCE(empty) ONCE(parse) ONCE(fnv) ONCE(jhash) ONCE(count) ONCE(checksum) ONCE(chain) ONCE(loop)

EXPORT("_initialize") void initialize(void)
{
	links[0] = link_0, links[1] = link_1, links[2] = link_2, links[3] = link_3, links[4] = link_4;
	links[5] = link_5, links[6] = link_6, links[7] = link_7, links[8] = last;
	stepper = step_once;
}
