// SPDX-License-Identifier: Apache-2.0
//
// A program of some 4,000 instructions, to be loaded rather than run.
#include "skep_bpf.h"
#include "core.h"

#define WORDS 307

SEC("xdp") int long_once(struct xdp_md *ctx)
{
	const u8 *at = (const u8 *)(long)ctx->data, *end = (const u8 *)(long)ctx->data_end;
	u32 h = 0;

	if (at + 4 * WORDS > end)
		return PASS;
#pragma unroll
	for (int i = 0; i < WORDS; i++)
		h = mix(h ^ load32(at + 4 * i));
	return h & 1 ? DROP : PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
