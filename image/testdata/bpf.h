/* What the test programs need of BPF's C conventions. */
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef int s32;
typedef long long s64;

#define SEC(name) __attribute__((section(name), used))
#define NULL ((void *)0)
#define __uint(name, val) int(*name)[val]
#define __type(name, val) typeof(val) *name
#define __array(name, val) typeof(val) *name[]
#define __ulong(name, val) enum { ___bpf_concat(__unique_, __COUNTER__) = val } name
#define ___bpf_concat(a, b) ___bpf_concat2(a, b)
#define ___bpf_concat2(a, b) a##b
#define __noinline __attribute__((noinline))
#define __weak __attribute__((weak))
#define __hidden __attribute__((visibility("hidden")))
#define __kconfig __attribute__((section(".kconfig")))
#define __ksym __attribute__((section(".ksyms")))
#define __core __attribute__((preserve_access_index))

enum map_type {
	HASH = 1, ARRAY = 2, PROG_ARRAY = 3, PERF_EVENT_ARRAY = 4, PERCPU_ARRAY = 6, LPM_TRIE = 11,
	ARRAY_OF_MAPS = 12, HASH_OF_MAPS = 13, RINGBUF = 27, BLOOM_FILTER = 30, ARENA = 33,
};

static void *(*const map_lookup_elem)(void *map, const void *key) = (void *)1;
static long (*const map_update_elem)(void *map, const void *key, const void *value, u64 flags) = (void *)2;
static long (*const trace_printk)(const char *fmt, u32 size, ...) = (void *)6;
static long (*const tail_call)(void *ctx, void *map, u32 index) = (void *)12;
static long (*const bpf_loop)(u32 n, void *fn, void *ctx, u64 flags) = (void *)181;

struct xdp_md;
