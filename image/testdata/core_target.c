/* A kernel: the types that core.c meets, and what externs.c asks for. */
#include "bpf.h"

struct list {
	u64 pad;
	struct list *next;
};
struct task {
	u64 start;
	char comm[16];
	u32 pid, renamed;
	u64 width;
	s64 level;
	u32 one : 1, low : 3, more : 8, high : 9;
	union {
		struct {
			u64 before;
			u32 inside[3];
		};
	};
	struct list *list;
	u8 tail[];
};
struct flavoured___two {
	u64 pad;
	u32 y;
};
enum color { NONE, RED, GREEN, BLUE = 20 };

struct task *t;
struct list *l;
struct flavoured___two *f;
enum color c;

struct bpf_iter_num {
	u64 opaque[1];
};
int bpf_prog_active;
__noinline int bpf_iter_num_new(struct bpf_iter_num *it, int start, int end) { return it->opaque[0] + start; }

SEC("raw_tp") int entry(struct bpf_iter_num *ctx) { return bpf_iter_num_new(ctx, 1, 2) + bpf_prog_active; }
