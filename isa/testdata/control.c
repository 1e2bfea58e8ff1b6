// Every comparison on both widths, loops, switches, calls local and global.
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long s64;

static u64 (*helper)(u64) = (void *)5;

u64 global(u64 a);

static __attribute__((noinline)) u64 local(u64 a, u64 b)
{
	return helper(a) + b;
}

#define COMPARE(name, type, op, k)			\
	u64 name(type a, type b)			\
	{						\
		u64 r = 1;				\
		if (a op b) r += helper(1);		\
		if (a op k) r += helper(2);		\
		return r;				\
	}

COMPARE(eq64, u64, ==, 5)
COMPARE(ne64, u64, !=, -5)
COMPARE(gt64, u64, >, 0x7fffffff)
COMPARE(ge64, u64, >=, 77)
COMPARE(lt64, u64, <, 77)
COMPARE(le64, u64, <=, 77)
COMPARE(sgt64, s64, >, -2)
COMPARE(sge64, s64, >=, -2)
COMPARE(slt64, s64, <, -2)
COMPARE(sle64, s64, <=, -2)
COMPARE(and64, u64, &, 0x40)
COMPARE(eq32, u32, ==, 5)
COMPARE(ne32, u32, !=, -5)
COMPARE(gt32, u32, >, 0x7fffffff)
COMPARE(lt32, u32, <, 77)
COMPARE(sgt32, int, >, -2)
COMPARE(sge32, int, >=, -2)
COMPARE(slt32, int, <, -2)
COMPARE(sle32, int, <=, -2)
COMPARE(and32, u32, &, 0x40)

u64 loop(u64 n)
{
	u64 sum = 0;
	for (u64 i = 0; i < n; i++)
		sum += local(i, sum) + global(i);
	return sum;
}

u64 choose(u64 a)
{
	switch (a) {
	case 0: return global(1);
	case 1: return local(2, 3);
	case 7: return helper(9);
	case 9: return loop(3);
	}
	return ~0ull;
}

// may_goto has no C form.
u64 assembly(u64 a)
{
	asm volatile("if %0 == 0 goto +1; goto +2; %0 += 1; may_goto +0" : "+r"(a));
	return a;
}

// callx, which Linux refuses.
u64 indirect(u64 (*f)(u64))
{
	return f(1);
}
