#ifndef __VMLINUX_H__
#define __VMLINUX_H__

#ifndef BPF_NO_PRESERVE_ACCESS_INDEX
#pragma clang attribute push (__attribute__((preserve_access_index)), apply_to = record)
#endif

enum small {
	MINUS = -1,
	FIVE = 5,
};

enum big {
	BIG = 78187493520ULL,
	BIGGER = 78187493521ULL,
};

enum wide {
	WIDE_NEG = -78187493520LL,
};

enum byte {
	BYTE = 0,
} __attribute__((mode(byte)));

enum {
	ANON_NEG = -5,
	ANON = 7,
};

struct bits {
	int a: 3;
	unsigned int b: 7;
	_Bool c: 1;
	long long d: 40;
	char: 5;
	char: 8;
	unsigned int e: 4;
	char: 4;
	char: 5;
	unsigned int f: 5;
};

struct declared_only;

union declared_union;

struct later;

struct kinds {
	struct declared_only *fwd;
	union declared_union *ufwd;
	const volatile int *restrict q;
	int *const cp;
	const char *const names[3];
	float f;
	double g;
	char ch;
	signed char sc;
	_Bool bo;
	__int128 wide;
	struct kinds *self;
	int (*matrix)[4][5];
	void (*call)(struct kinds *, int, ...);
	struct later *(*make)(void);
	const int *(*const table[2])(union declared_union *);
	union {
		struct {
			short x;
			short y;
		};
		int both;
		enum {
			INNER_A = 0,
			INNER_B = 1,
		} choice;
	};
	struct {
		long l;
	} named;
	int flexible[0];
};

typedef struct later later_t;

typedef later_t *later_p;

struct later {
	later_t *next;
	later_p prev;
	struct bits inside;
};

typedef struct {
	later_t by_value;
} unnamed_t;

typedef int (*callback_t)(unnamed_t *, later_p);

struct packed {
	char c;
	long l;
	short s;
} __attribute__((packed));

struct half_packed {
	char c;
	int i;
	struct packed p;
} __attribute__((packed));

struct spread {
	char first;
	char: 8;
	short: 16;
	int: 32;
	long long: 64;
	long long: 64;
	long long: 64;
	long long: 64;
	long long: 64;
	long long: 64;
	long long: 64;
	int cacheline;
	char last;
	char: 8;
	short: 16;
	long long: 64;
	long long: 64;
	long long: 64;
	long long: 64;
	long long: 64;
	long long: 64;
	long long: 64;
};

struct far {
	char first;
	char __skip_1[4095];
	int second;
	char __skip_4100[4092];
};

struct tail {
	int one;
	int: 32;
	long long: 64;
	long long: 64;
	long long: 64;
};

union long_union {
	char three[3];
} __attribute__((aligned(2)));

union packed_union {
	char c;
	struct packed p;
	long l;
} __attribute__((packed));

struct empty {};

struct tagged {
	int __attribute__((btf_type_tag("user"))) *x;
	int __attribute__((btf_type_tag("user"))) *__attribute__((btf_type_tag("user"))) *y;
	void __attribute__((btf_type_tag("user"))) (*f)(int);
};

struct twice {
	int a;
};

struct twice___2 {
	long b;
};

#ifndef BPF_NO_PRESERVE_ACCESS_INDEX
#pragma clang attribute pop
#endif

#endif /* __VMLINUX_H__ */
