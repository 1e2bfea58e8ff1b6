// Arithmetic of every width and sign; volatile keeps the compiler from folding.
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef signed char s8;
typedef short s16;
typedef int s32;
typedef long long s64;

u64 wide(u64 a, u64 b)
{
	a += b; a -= 7; a *= b; a /= b | 1; a %= 1000; a |= b; a &= ~3ull; a ^= b;
	a <<= b & 63; a >>= 3; a += (s64)a >> 5; a = -a;
	return a * 0x123456789abcdefull;
}

u32 narrow(u32 a, u32 b)
{
	a += b; a -= 7; a *= b; a /= b | 1; a %= 1000; a |= b; a &= ~3u; a ^= b;
	a <<= b & 31; a >>= 3; a += (s32)a >> 5; a = -a;
	return a;
}

u64 swaps(u64 a)
{
	return __builtin_bswap16(a) + __builtin_bswap32(a >> 3) + __builtin_bswap64(a ^ 5);
}

s64 extend(s64 a, s64 b)
{
	return (s8)a + (s16)(a + b) + (s64)(s32)(a - b);
}

s32 extend32(s32 a, s32 b)
{
	return (s8)a ^ (s16)(a + b);
}

#if __BPF_CPU_VERSION__ >= 4
s64 divide(s64 a, s64 b)
{
	return a / b + a % (b + 3) + a / -7;
}

s32 divide32(s32 a, s32 b)
{
	return a / b + a % (b + 3) + a % 10;
}
#endif
