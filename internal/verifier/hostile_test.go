package verifier_test

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/linux"
	"github.com/skep-bpf/skep/internal/oracle"
	"github.com/skep-bpf/skep/internal/verifier"
	"github.com/skep-bpf/skep/isa"
)

// A hostile program tries to keep the verifier busy, or to fill its memory.
type hostile struct {
	name  string
	insns func(t testing.TB) []isa.Instruction
	want  string // the refusal's errno; "": accepted
	// limit is the budget of instructions, if not the kernel's; the kernel, which
	// takes long over its own, is not asked then.
	limit int
}

// hostileMemory is what may be allocated in all while one is verified, in MiB:
// some five times of the most it was when the test was written.
const hostileMemory = 256

func assemble(text string) func(t testing.TB) []isa.Instruction {
	return func(t testing.TB) []isa.Instruction {
		t.Helper()
		insns, err := isa.Assemble("hostile", text, isa.Symbols{
			Helper: func(name string) (int32, bool) {
				h := catalog.HelperByName(name)
				if h == nil {
					return 0, false // a label
				}
				return int32(h.ID), true
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		return insns
	}
}

func repeat(n int, line func(i int) string) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(line(i) + "\n")
	}
	return b.String()
}

// slots are the 64 places of a stack frame; a function has fewer to itself.
func spillAll(reg, n int) string {
	return repeat(n, func(i int) string { return fmt.Sprintf("*(u64 *)(r10 - %d) = r%d", 8*(i+1), reg) })
}

var hostiles = []hostile{
	{"a chain of jumps", func(testing.TB) []isa.Instruction {
		var insns []isa.Instruction
		for range 20_000 {
			insns = append(insns, isa.Goto(0))
		}
		return append(insns, isa.Mov64Imm(isa.R0, 0), isa.ExitInsn())
	}, "", 0},
	{"a chain of branches that all wait", func(testing.TB) []isa.Instruction {
		insns := isa.Program(isa.HelperCall(int32(catalog.HelperByName("bpf_get_prandom_u32").ID)))
		for i := range 20_000 {
			insns = append(insns, isa.JmpImm(isa.Jeq, isa.R0, int32(i), 0))
		}
		return append(insns, isa.Mov64Imm(isa.R0, 0), isa.ExitInsn())
	}, "EFAULT", 0},
	{"a loop without end", assemble("r0 = 0\nagain:\nr0 += 1\ngoto again"), "E2BIG", 100_000},
	{"a loop that takes the whole budget", assemble("r0 = 0\nagain:\nr0 += 1\nif r0 < 0x7fffffff goto again\nexit"), "E2BIG", 100_000},
	{"a loop whose full stack is never the same", assemble("r6 = 0\nagain:\ncall bpf_get_prandom_u32\n" + spillAll(6, 63) + `
r6 += 1
if r0 == 0 goto odd
r6 += 1
odd:
r7 = *(u64 *)(r10 - 8)
if r7 > 0x7ffffff0 goto out
r8 = *(u64 *)(r10 - 504)
if r8 > 0x7ffffff0 goto out
if r6 < 0x7ffffff0 goto again
out:
r0 = 0
exit`), "E2BIG", 100_000},
	{"functions that call the next one again and again", assemble("call f1\nr0 = 0\nexit\n" + repeat(7, func(i int) string { // 20 to the sixth
		call := "r0 = 0\n"
		if i < 6 {
			call = strings.Repeat(fmt.Sprintf("call f%d\n", i+2), 20)
		}
		return fmt.Sprintf("f%d:\n%sr0 = 0\nexit", i+1, call)
	})), "E2BIG", 100_000},
	{"calls nine deep", assemble(repeat(9, func(i int) string {
		if i == 8 {
			return "f8:\nr0 = 0\nexit"
		}
		return fmt.Sprintf("f%d:\ncall f%d\nr0 = 0\nexit", i, i+1)
	})), "E2BIG", 0},
	{"a function that calls itself", assemble("call f\nr0 = 0\nexit\nf:\ncall f\nexit"), "E2BIG", 0},
	{"257 functions", assemble(repeat(256, func(i int) string { return fmt.Sprintf("call f%d", i) }) + "exit\n" +
		repeat(256, func(i int) string { return fmt.Sprintf("f%d:\nr0 = 0\nexit", i) })), "E2BIG", 0},
	{"256 functions", assemble(repeat(255, func(i int) string { return fmt.Sprintf("call f%d", i) }) + "exit\n" +
		repeat(255, func(i int) string { return fmt.Sprintf("f%d:\nr0 = 0\nexit", i) })), "", 0},
	{"numbers that all matter, through many joins", assemble("r6 = 0\n" + repeat(3000, func(i int) string {
		return fmt.Sprintf("call bpf_get_prandom_u32\nif r0 == 0 goto j%d\nr6 += %d\nj%d:", i, 1<<(i%20), i)
	}) + "if r6 == 7 goto out\nout:\nr0 = 0\nexit"), "E2BIG", 100_000},
}

// TestHostile: each comes to the kernel's verdict, in bounded memory.
func TestHostile(t *testing.T) {
	for _, h := range hostiles {
		t.Run(h.name, func(t *testing.T) {
			p := &verifier.Program{Type: catalog.ProgSocketFilter, GPL: true, Insns: h.insns(t)}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			res, err := verifier.Verify(p, verifier.Options{CPUs: 2, InsnLimit: h.limit})
			runtime.ReadMemStats(&after)
			mib := (after.TotalAlloc - before.TotalAlloc) >> 20
			if res != nil {
				t.Logf("%d instructions processed, at most %d states, %d MiB", res.Stats.InsnProcessed, res.Stats.PeakStates, mib)
			} else {
				t.Logf("%v, %d MiB", err, mib)
			}
			if mib > hostileMemory {
				t.Errorf("%d MiB were allocated, want at most %d", mib, hostileMemory)
			}
			check := func(who string, err error) {
				var no errno.Errno
				errors.As(err, &no)
				if (err == nil) != (h.want == "") || err != nil && no.Name() != h.want {
					t.Errorf("%s: %v, want %q", who, err, h.want)
				}
			}
			check("skep", err)
			if h.limit != 0 {
				return
			}
			oracle.Need(t, "bpf(2)", linux.Available())
			lp, err := linux.Load(&linux.Prog{Name: "hostile", Type: p.Type, Insns: p.Insns, License: "GPL", LogLevel: 4})
			if err == nil {
				lp.Close()
			}
			check("kernel", err)
		})
	}
}

// Types as deep as they get: what a parameter is is found out or given up, within stack and time.
func TestHostileTypes(t *testing.T) {
	typ := btf.Type(&btf.Struct{Name: "s", Size: 8})
	for i := range 100_000 {
		typ = &btf.Typedef{Name: fmt.Sprint("t", i), Type: typ}
	}
	loop := &btf.Typedef{Name: "loop"}
	loop.Type = &btf.Const{Type: loop}
	pointers := btf.Type(&btf.Int{Name: "int", Size: 4})
	for range 100_000 {
		pointers = &btf.Pointer{Target: pointers}
	}
	insns := assemble("call f\nr0 = 0\nexit\nf:\nr0 = 0\nexit")(t)
	for name, param := range map[string]btf.Type{"typedefs": &btf.Pointer{Target: typ}, "a typedef of itself": loop, "pointers": pointers} {
		fn := &btf.Func{Name: "f", Linkage: btf.GlobalFunc, Type: &btf.FuncProto{Return: &btf.Int{Name: "int", Size: 4, Encoding: btf.Signed},
			Params: []btf.FuncParam{{Name: "a", Type: param}}}}
		main := &btf.Func{Name: "main", Type: &btf.FuncProto{Return: fn.Type.(*btf.FuncProto).Return}}
		p := &verifier.Program{Type: catalog.ProgSocketFilter, GPL: true, Insns: insns,
			Funcs: []verifier.FuncInfo{{Slot: 0, Func: main}, {Slot: 3, Func: fn}}}
		if _, err := verifier.Verify(p, verifier.Options{CPUs: 2, LogLevel: 2}); err != nil && !errors.As(err, new(*verifier.Error)) {
			t.Errorf("%s: %v is no refusal", name, err)
		}
	}
}
