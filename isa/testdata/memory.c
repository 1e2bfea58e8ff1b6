// Loads and stores of every size and sign, constants, globals, atomics, legacy
// packet access.
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef signed char s8;
typedef short s16;
typedef int s32;
typedef long long s64;

u64 counter;
static volatile const u32 limit = 10;
char text[] = "text";

u64 loads(u8 *p8, u16 *p16, u32 *p32, u64 *p64)
{
	return p8[3] + p16[-4] + p32[5] + p64[-6];
}

s64 signed_loads(s8 *p8, s16 *p16, s32 *p32)
{
	return p8[3] + p16[-4] + (s64)p32[5];
}

void stores(u8 *p8, u16 *p16, u32 *p32, u64 *p64, u64 v)
{
	p8[1] = v; p16[-2] = v; p32[3] = v; p64[-4] = v;
	p8[5] = 1; p16[6] = 2; p32[7] = -3; p64[8] = 4;
}

u64 globals(void)
{
	counter += limit;
	return counter + text[limit & 3];
}

u64 constants(u64 a)
{
	return a ^ 0xfedcba9876543210ull ^ 0x80000000ull ^ 0xffffffffull;
}

void add(u64 *p64, u32 *p32, u64 v)
{
	__sync_fetch_and_add(p64, v);
	__sync_fetch_and_add(p32, v);
}

#if __BPF_CPU_VERSION__ >= 3
u64 atomics(u64 *p, u64 v)
{
	__sync_fetch_and_or(p, v); __sync_fetch_and_and(p, v); __sync_fetch_and_xor(p, v);
	return __sync_fetch_and_add(p, v) + __sync_fetch_and_or(p + 1, v) + __sync_fetch_and_and(p - 1, v) +
	       __sync_fetch_and_xor(p, v) + __sync_lock_test_and_set(p, v) + __sync_val_compare_and_swap(p, v, 3);
}

u32 atomics32(u32 *p, u32 v)
{
	__sync_fetch_and_or(p, v); __sync_fetch_and_and(p, v); __sync_fetch_and_xor(p, v);
	return __sync_fetch_and_add(p, v) + __sync_fetch_and_or(p + 1, v) + __sync_fetch_and_and(p - 1, v) +
	       __sync_fetch_and_xor(p, v) + __sync_lock_test_and_set(p, v) + __sync_val_compare_and_swap(p, v, 3);
}
#endif

u64 load_byte(void *, u64) asm("llvm.bpf.load.byte");
u64 load_half(void *, u64) asm("llvm.bpf.load.half");
u64 load_word(void *, u64) asm("llvm.bpf.load.word");

u64 packet(void *skb, u64 at)
{
	return load_byte(skb, 23) + load_half(skb, at) + load_word(skb, 4) + load_byte(skb, at) + load_half(skb, 12) + load_word(skb, at);
}

#if __BPF_CPU_VERSION__ >= 3
u64 arena(u64 __attribute__((address_space(1))) *p)
{
	u64 *q = (u64 *)p;
	return *q + *p;
}
#endif
