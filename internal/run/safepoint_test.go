package run

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/mem"
	"github.com/skep-bpf/skep/internal/packet"
	"github.com/skep-bpf/skep/internal/rewrite"
	"github.com/skep-bpf/skep/internal/verifier"
	"github.com/skep-bpf/skep/isa"
)

// spins are programs that never end, one for each kind of place where native code spends
// fuel or leaves. COUNT counts a turn and takes three instructions; JUMPS and TABLE are maps.
var spins = []struct {
	name string
	text string
	turn uint64 // instructions per turn, not more than are really executed
}{
	{"goto", "top:\n COUNT\n goto top\n exit", 4},
	{"gotol", "top:\n COUNT\n gotol top\n exit", 4},
	{"conditional jump", "r6 = 1\n top:\n COUNT\n if r6 != 0 goto top\n exit", 4},
	{"conditional jump on the lower half", "w6 = 1\n top:\n COUNT\n if w6 s> 0 goto top\n exit", 4},
	{"jump over much code", "top:\n COUNT\n" + strings.Repeat("r3 += r4\n", 5000) + "goto top\n exit", 5004},
	{"may_goto", "top:\n call f\n goto top\n exit\n f:\n again:\n may_goto out\n COUNT\n goto again\n out:\n r0 = 0\n exit", 5},
	{"may_goto backwards", "top:\n call f\n goto top\n exit\n f:\n r6 = 1\n again:\n COUNT\n may_goto out\n goto again\n out:\n r0 = 0\n exit", 5},
	{"local calls", "top:\n call f\n goto top\n exit\n f:\n COUNT\n r0 = 0\n exit", 7},
	{"long local calls", "top:\n call f\n goto top\n exit\n f:\n COUNT\n" + strings.Repeat("r3 += r4\n", 5000) + "r0 = 0\n exit", 5007},
	{"nested loops in subprograms", `
		top:
		call f
		goto top
		exit
	f:
		r6 = 3
		again:
		call g
		r6 -= 1
		if r6 != 0 goto again
		exit
	g:
		r7 = 100
		inner:
		COUNT
		r7 -= 1
		if r7 != 0 goto inner
		r0 = 0
		exit`, 5},
	{"bpf_loop", "top:\n r1 = 1000000\n r2 = func[f] ll\n r3 = 0\n r4 = 0\n call bpf_loop\n goto top\n exit\n f:\n COUNT\n r0 = 0\n exit", 5},
	{"bpf_loop of one turn", "top:\n r1 = 1\n r2 = func[f] ll\n r3 = 0\n r4 = 0\n call bpf_loop\n goto top\n exit\n f:\n COUNT\n r0 = 0\n exit", 11},
	{"nested bpf_loop", `
		top:
		r1 = 1000000
		r2 = func[f] ll
		r3 = 0
		r4 = 0
		call bpf_loop
		goto top
		exit
	f:
		r1 = 1000000
		r2 = func[g] ll
		r3 = 0
		r4 = 0
		call bpf_loop
		r0 = 0
		exit
	g:
		COUNT
		r0 = 0
		exit`, 5},
	{"bpf_loop by Go", "r7 = func[f] ll\n top:\n r1 = 1000000\n r2 = r7\n r3 = 0\n r4 = 0\n call bpf_loop\n goto top\n exit\n f:\n COUNT\n r0 = 0\n exit", 5},
	{"for_each_map_elem", "top:\n r1 = TABLE ll\n r2 = func[f] ll\n r3 = 0\n r4 = 0\n call bpf_for_each_map_elem\n goto top\n exit\n f:\n COUNT\n r0 = 0\n exit", 5},
	{"loops in a callback of Go's", `
		top:
		r1 = TABLE ll
		r2 = func[f] ll
		r3 = 0
		r4 = 0
		call bpf_for_each_map_elem
		goto top
		exit
	f:
		r6 = 1000
		again:
		COUNT
		r6 -= 1
		if r6 != 0 goto again
		r0 = 0
		exit`, 5},
	{"helpers in Go", "top:\n COUNT\n call bpf_jiffies64\n goto top\n exit", 5},
	{"the clock", "top:\n COUNT\n call bpf_ktime_get_ns\n goto top\n exit", 5},
	{"helpers that need no Go", "top:\n COUNT\n call bpf_get_prandom_u32\n call bpf_get_smp_processor_id\n goto top\n exit", 6},
	{"iterators", `
		r1 = r10
		r1 += -8
		r2 = 0
		r3 = 0x7fffffff
		call kfunc[NEW]
		top:
		COUNT
		r1 = r10
		r1 += -8
		call kfunc[NEXT]
		goto top
		exit`, 7},
	{"legacy loads", "r6 = r1\n top:\n COUNT\n r0 = *(u8 *)skb[3]\n goto top\n exit", 5},
	{"probing loads of nothing", "r7 = 4096\n top:\n COUNT\n r0 = *(u64 *)(r7 + 0)\n goto top\n exit", 5},
	{"tail calls that fail", "top:\n COUNT\n r2 = JUMPS ll\n r3 = 1\n call bpf_tail_call\n goto top\n exit", 7},
	{"tail calls out of a subprogram", "r6 = r1\n top:\n COUNT\n r1 = r6\n call f\n goto top\n exit\n f:\n r2 = JUMPS ll\n r3 = 0\n call bpf_tail_call\n r0 = 0\n exit", 6},
}

// spinning makes the program of a text, which counts at the address count.
func spinning(t *testing.T, m *Machine, text string, count uint64) *Program {
	table := newMap(t, m, catalog.MapDef{Type: catalog.MapArray, KeySize: 4, ValueSize: 8, MaxEntries: 100})
	jumps := newMap(t, m, catalog.MapDef{Type: catalog.MapProgArray, KeySize: 4, ValueSize: 4, MaxEntries: 2})
	last := program(t, m, nil, isa.Mov64Imm(isa.R0, 0), isa.ExitInsn())
	if err := jumps.Update(u32(0), u32(last.ID()), 0); err != nil {
		t.Fatal(err)
	}
	spec, calls := kernelTypes(t, "bpf_iter_num_new", "bpf_iter_num_next")
	text = strings.NewReplacer(
		"COUNT", fmt.Sprintf("r1 = %#x ll\n r2 = 1\n lock *(u64 *)(r1 + 0) += r2", count),
		"TABLE", fmt.Sprintf("%#x", table.Def().Ptr), "JUMPS", fmt.Sprintf("%#x", jumps.Def().Ptr),
		"NEW", fmt.Sprint(calls["bpf_iter_num_new"].Imm), "NEXT", fmt.Sprint(calls["bpf_iter_num_next"].Imm),
	).Replace(text)
	insns, err := isa.Assemble("spin", text, isa.Symbols{Helper: func(name string) (int32, bool) {
		h := catalog.HelperByName(name)
		if h == nil {
			return 0, false
		}
		return int32(h.ID), true
	}})
	if err != nil {
		t.Fatal(err)
	}
	starts, callbacks := []int{0}, map[int]bool{}
	for pc := range insns {
		switch ins := &insns[pc]; {
		case ins.IsLocalCall():
			starts = append(starts, pc+1+int(ins.Imm))
		case ins.IsLoadImm64() && ins.Src == isa.PseudoFunc:
			starts = append(starts, pc+1+int(ins.Imm))
			callbacks[pc+1+int(ins.Imm)] = true
		case ins.Op.Class() == isa.ClassLDX: // the only load there is
			ins.Op = isa.Opcode(isa.ClassLDX) | isa.ModeProbeMEM | isa.DW
		}
	}
	slices.Sort(starts)
	var subs []verifier.Subprog
	for i, start := range starts {
		end := len(insns)
		if i+1 < len(starts) {
			end = starts[i+1]
		}
		subs = append(subs, verifier.Subprog{Start: start, End: end, StackDepth: 16, Callback: callbacks[start]})
	}
	p, err := m.NewProgram(&rewrite.Program{
		Insns: insns, Subprogs: subs, Source: &verifier.Program{Name: "spin", Type: catalog.ProgSocketFilter, KernelBTF: spec},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// spin runs a program on a packet until done or its budget ends it.
func spin(m *Machine, p *Program, done <-chan struct{}) error {
	c := m.Acquire()
	defer c.Release()
	if err := c.Packet().SetSKB(make([]byte, 64), packet.SKBOptions{}); err != nil {
		return err
	}
	_, err := c.RunUntil(done, p, c.Packet().Addr(), c.Packet())
	return err
}

// counter is memory that programs count in.
func counter(t *testing.T) (addr uint64, word *uint64) {
	block, err := mem.Alloc(8)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(block.Free)
	return block.Addr(), (*uint64)(mem.Ptr(block.Addr())) // sound: freed when the test is over
}

// Wherever a program spins, the world can be stopped, it goes on afterwards, and it
// ends when it is told to.
func TestSafepoints(t *testing.T) {
	each(t, Options{CPUs: 1}, func(t *testing.T, m *Machine) {
		if m.opts.Checked {
			t.Skip("the counter is not the run's")
		}
		if testing.Short() && !m.Native() {
			t.Skip("the interpreter can be stopped anywhere")
		}
		for _, s := range spins {
			t.Run(s.name, func(t *testing.T) {
				addr, word := counter(t)
				p := spinning(t, m, s.text, addr)
				done, ended := make(chan struct{}), make(chan error, 1)
				go func() { ended <- spin(m, p, done) }()
				moves := func() {
					for from := atomic.LoadUint64(word); atomic.LoadUint64(word) == from; {
						select {
						case err := <-ended:
							t.Fatalf("it ended: %v", err)
						default:
							runtime.Gosched()
						}
					}
				}
				moves()
				for range 2 {
					runtime.GC() // hangs if the run passes no safepoint
					moves()
					var stats runtime.MemStats
					runtime.ReadMemStats(&stats) // stops the world, too
					moves()
				}
				close(done)
				if err := <-ended; !errors.Is(err, ErrInterrupted) {
					t.Errorf("%v, want ErrInterrupted", err)
				}
			})
		}
	})
}

// Between two safepoints a run takes so many instructions and no more: a budget of just as many ends
// it at the second. The bound is in instructions, not in time.
func TestFuelBoundsStretches(t *testing.T) {
	const stretch = 1 << 14 // pollSlots of both engines
	each(t, Options{CPUs: 1, Budget: stretch}, func(t *testing.T, m *Machine) {
		if m.opts.Checked {
			t.Skip("the counter is not the run's")
		}
		for _, s := range spins {
			t.Run(s.name, func(t *testing.T) {
				addr, word := counter(t)
				if err := spin(m, spinning(t, m, s.text, addr), nil); !errors.Is(err, ErrBudget) {
					t.Errorf("%v, want ErrBudget", err)
				}
				// One turn may have begun before the first poll, and one before the last.
				if turns := *word; turns == 0 || (turns-min(turns, 2))*s.turn > stretch {
					t.Errorf("%d turns of at least %d instructions each, with fuel for %d", turns, s.turn, stretch)
				}
			})
		}
	})
}
