/* An exception callback is called by nobody and must be there all the same. */
#include "bpf.h"

static __noinline u64 helper(u64 x) { return x * 7; }
__noinline int on_exception(u64 cookie) { return helper(cookie); }

SEC("tc") __attribute__((btf_decl_tag("exception_callback:on_exception"))) int guarded(u32 *ctx) { return ctx[0]; }
SEC("tc") int plain(u32 *ctx) { return ctx[1]; }

char _license[] SEC("license") = "GPL";
