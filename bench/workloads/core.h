// SPDX-License-Identifier: Apache-2.0
//
// The work itself, as plain functions of a packet's bytes [at, end): the same
// source becomes BPF, native code and WebAssembly.
#ifndef CORE_H
#define CORE_H

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

#define INLINE static inline __attribute__((always_inline))

enum { DROP = 1, PASS = 2 };
enum { MTU = 1514 };

INLINE u16 load16(const u8 *p) { return *(const u16 *)p; }
INLINE u32 load32(const u8 *p) { return *(const u32 *)p; }
INLINE u32 rotate(u32 x, int n) { return x << n | x >> (32 - n); }
#define BE16(x) ((u16)((x) << 8 | (x) >> 8))

// empty is the price of a call.
INLINE u32 empty(const u8 *at, const u8 *end)
{
	(void)at, (void)end;
	return PASS;
}

// parse goes from Ethernet over IPv4 to TCP and drops by destination port.
INLINE u32 parse(const u8 *at, const u8 *end)
{
	const u8 *ip = at + 14, *tcp;
	u32 length;
	u16 port;

	if (ip + 20 > end || load16(at + 12) != BE16(0x0800))
		return PASS;
	length = (ip[0] & 15) * 4;
	if (ip[0] >> 4 != 4 || length < 20)
		return PASS;
	if (ip[9] != 6 || load16(ip + 6) & BE16(0x1fff))
		return PASS;
	tcp = ip + length;
	if (tcp + 20 > end)
		return PASS;
	port = load16(tcp + 2);
	return port == BE16(22) || port == BE16(443) || port == BE16(8080) ? DROP : PASS;
}

// fnv is FNV-1a over the packet, byte by byte: one long chain of multiplications.
INLINE u32 fnv(const u8 *at, const u8 *end)
{
	u32 h = 0x811c9dc5;

#pragma GCC unroll 1
	for (u32 i = 0; i < MTU && at + i + 1 <= end; i++)
		h = (h ^ at[i]) * 0x01000193;
	return h;
}

// jhash is Jenkins' lookup3 over the packet, twelve bytes a turn: rotations.
INLINE u32 jhash(const u8 *at, const u8 *end)
{
	u32 a = 0xdeadbeef, b = a, c = a;

#pragma GCC unroll 1
	for (u32 i = 0; i < MTU / 12 && at + 12 <= end; i++, at += 12) {
		a += load32(at);
		b += load32(at + 4);
		c += load32(at + 8);
		a = (a - c) ^ rotate(c, 4), c += b;
		b = (b - a) ^ rotate(a, 6), a += c;
		c = (c - b) ^ rotate(b, 8), b += a;
		a = (a - c) ^ rotate(c, 16), c += b;
		b = (b - a) ^ rotate(a, 19), a += c;
		c = (c - b) ^ rotate(b, 4), b += a;
	}
	c = (c ^ b) - rotate(b, 14);
	a = (a ^ c) - rotate(c, 11);
	b = (b ^ a) - rotate(a, 25);
	c = (c ^ b) - rotate(b, 16);
	a = (a ^ c) - rotate(c, 4);
	b = (b ^ a) - rotate(a, 14);
	return (c ^ b) - rotate(b, 24);
}

// checksum is that of an IPv4 header without options.
INLINE u32 checksum(const u8 *at, const u8 *end)
{
	const u8 *ip = at + 14;
	u32 sum = 0;

	if (ip + 20 > end)
		return PASS;
#pragma GCC unroll 10
	for (int i = 0; i < 20; i += 2)
		sum += load16(ip + i);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (u16)~sum;
}

// step is what a bpf_loop callback does each time.
INLINE u32 step(u32 sum, u32 i) { return (sum ^ i) * 0x01000193; }

// mix scatters a counter over 32 bits (Murmur3's finaliser).
INLINE u32 mix(u32 h)
{
	h = (h ^ h >> 16) * 0x85ebca6b;
	h = (h ^ h >> 13) * 0xc2b2ae35;
	return h ^ h >> 16;
}

#endif
