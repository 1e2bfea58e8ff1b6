/* Compile once, run everywhere: one relocation of each kind, against the types
 * of core_target.c. */
#include "bpf.h"

struct task {
	u32 pid;
	u64 start;
	u32 width;    /* 64 bits in the target */
	s32 level;    /* s64 in the target: no load can be adapted */
	u32 low : 3, high : 7;
	struct {
		u32 inside[4];
	};
	struct list {
		struct list *next;
	} *list;
	u32 gone;
	u8 tail[];
} __core;

struct task___old {
	u32 renamed;
} __core;

struct flavoured {
	u32 y;
} __core;

struct absent {
	u32 x;
} __core;

enum color { RED, GREEN, BLUE = 9, PURPLE };

#define exists(field) __builtin_preserve_field_info(field, 2)
#define byte_size(field) __builtin_preserve_field_info(field, 1)
#define is_signed(field) __builtin_preserve_field_info(field, 3)
#define lshift(field) __builtin_preserve_field_info(field, 4)
#define rshift(field) __builtin_preserve_field_info(field, 5)
#define local_id(type) __builtin_btf_type_id(*(typeof(type) *)0, 0)
#define target_id(type) __builtin_btf_type_id(*(typeof(type) *)0, 1)
#define type_exists(type) __builtin_preserve_type_info(*(typeof(type) *)0, 0)
#define type_size(type) __builtin_preserve_type_info(*(typeof(type) *)0, 1)
#define type_matches(type) __builtin_preserve_type_info(*(typeof(type) *)0, 2)
#define enum_exists(type, v) __builtin_preserve_enum_value(*(typeof(type) *)v, 0)
#define enum_value(type, v) __builtin_preserve_enum_value(*(typeof(type) *)v, 1)

volatile u64 out[32];

SEC("raw_tp") int fields(struct task *t)
{
	out[0] = t->start;
	out[1] = t->width;
	out[2] = t->inside[2];
	out[3] = t->tail[5];
	t->pid = 3;
	out[4] = (u64)t->list->next;
	out[5] = ((struct flavoured *)t)->y;
	return 0;
}

SEC("raw_tp") int facts(struct task *t)
{
	struct task___old *old = (void *)t;
	struct absent *a = (void *)t;

	out[0] = exists(t->start);
	out[1] = exists(old->renamed);
	out[2] = exists(a->x);
	out[3] = byte_size(t->width);
	out[4] = is_signed(t->level);
	out[5] = is_signed(t->width);
	out[6] = lshift(t->high);
	out[7] = rshift(t->high);
	out[8] = target_id(struct task);
	out[9] = type_exists(struct task);
	out[10] = type_exists(struct absent);
	out[11] = type_size(struct task);
	out[12] = type_matches(struct list);
	out[13] = enum_exists(enum color, BLUE);
	out[14] = enum_exists(enum color, PURPLE);
	out[15] = enum_value(enum color, BLUE);
	out[16] = byte_size(t->high);
	out[17] = exists(t->gone);
	return 0;
}

SEC("raw_tp") int poisoned(struct task *t)
{
	if (exists(t->gone))
		out[0] = t->gone;
	out[1] = t->level;
	return 0;
}

char _license[] SEC("license") = "GPL";
