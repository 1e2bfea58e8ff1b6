/* All kinds of types, and layouts a compiler does not make by itself. */
enum small { MINUS = -1, FIVE = 5 } small;
enum big { BIG = 0x1234567890ULL, BIGGER } big;
enum wide { WIDE_NEG = -0x1234567890LL } wide;
enum byte { BYTE } __attribute__((mode(byte))) byte;
enum { ANON_NEG = -5, ANON = 7 } anonymous;

struct declared_only;
union declared_union;

struct bits {
	int a : 3;
	unsigned b : 7;
	_Bool c : 1;
	long long d : 40;
	int : 0;
	unsigned e : 4;
	int : 9;
	unsigned f : 5;
} bits;

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
	void (*call)(struct kinds *, int n, ...);
	struct later *(*make)(void);
	const int *(*const table[2])(union declared_union *);
	union {
		struct {
			short x, y;
		};
		int both;
		enum { INNER_A, INNER_B } choice;
	};
	struct {
		long l;
	} named;
	int flexible[];
} kinds;

typedef struct later later_t;
typedef later_t *later_p;
struct later {
	later_t *next;
	later_p prev;
	struct bits inside;
};
struct later later;
typedef struct {
	later_t by_value;
} unnamed_t;
unnamed_t unnamed;
typedef int (*callback_t)(unnamed_t *, later_p);
callback_t callback;

struct packed {
	char c;
	long l;
	short s;
} __attribute__((packed)) packed;

struct half_packed {
	char c;
	int i __attribute__((packed));
	struct packed p;
} half_packed;

struct spread {
	char first;
	int cacheline __attribute__((aligned(64)));
	char last;
} spread;

struct far {
	char first;
	int second __attribute__((aligned(4096)));
} far;

struct tail {
	int one;
} __attribute__((aligned(32))) tail;

union long_union {
	char three[3];
} __attribute__((aligned(4))) long_union;

union packed_union {
	char c;
	struct packed p;
	long l;
} __attribute__((packed)) packed_union;

struct empty {
} empty;

#define user __attribute__((btf_type_tag("user")))
struct tagged {
	int user *x __attribute__((btf_decl_tag("field")));
	int user *user *y;
	void (user *f)(int);
} tagged __attribute__((btf_decl_tag("variable")));

/* The same names twice, in scopes that do not meet. */
static int one_scope(int n)
{
	static volatile struct twice { int a; } t;
	static volatile enum { TWICE = 1 } e;
	return t.a++ + e++ + n;
}

static int another_scope(int n)
{
	static volatile struct twice { long b; } t;
	static volatile enum { TWICE = 2 } e;
	return t.b++ + e++ + n;
}

static int hidden;
extern int elsewhere;
int visible(int arg __attribute__((btf_decl_tag("argument"))))
{
	return arg + hidden++ + elsewhere + one_scope(arg) + another_scope(arg);
}
