/* What the kernel provides: configuration, functions, variables, addresses. */
#include "bpf.h"

enum libbpf_tristate { TRI_NO = 0, TRI_YES = 1, TRI_MODULE = 2 };

extern u32 LINUX_KERNEL_VERSION __kconfig;
extern u32 CONFIG_HZ __kconfig;
extern s64 CONFIG_MISSING_NUMBER __kconfig __weak;
extern _Bool CONFIG_BPF_SYSCALL __kconfig __weak;
extern enum libbpf_tristate CONFIG_NET __kconfig __weak;
extern char CONFIG_BPF_JIT __kconfig __weak;
extern char CONFIG_DEFAULT_HOSTNAME[16] __kconfig __weak;

struct bpf_iter_num {
	u64 opaque;
};
extern int bpf_iter_num_new(struct bpf_iter_num *it, int start, int end) __ksym;
extern void bpf_absent_kfunc(int) __ksym __weak;
extern const int bpf_prog_active __ksym;
extern const int bpf_absent_var __ksym __weak;
extern const void bpf_map_fops __ksym __weak;

u64 out[8];

SEC("xdp") int config(void *ctx)
{
	out[0] = LINUX_KERNEL_VERSION;
	out[1] = CONFIG_HZ;
	out[2] = CONFIG_MISSING_NUMBER;
	out[3] = CONFIG_BPF_SYSCALL;
	out[4] = CONFIG_NET;
	out[5] = CONFIG_BPF_JIT;
	out[6] = CONFIG_DEFAULT_HOSTNAME[2];
	return 0;
}

SEC("xdp") int kernel(void *ctx)
{
	struct bpf_iter_num it;

	bpf_iter_num_new(&it, 1, 3);
	out[0] = (u64)&bpf_prog_active;
	out[1] = (u64)&bpf_absent_var;
	out[2] = (u64)&bpf_map_fops;
	if (bpf_absent_kfunc)
		bpf_absent_kfunc(1);
	return 0;
}

char _license[] SEC("license") = "GPL";
