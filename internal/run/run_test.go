package run

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/helpers"
	"github.com/skep-bpf/skep/internal/jit"
	"github.com/skep-bpf/skep/internal/maps"
	"github.com/skep-bpf/skep/internal/mem"
	"github.com/skep-bpf/skep/internal/rewrite"
	"github.com/skep-bpf/skep/internal/verifier"
	"github.com/skep-bpf/skep/isa"
)

func newMachine(t testing.TB, o Options) *Machine {
	t.Helper()
	if o.CPUs == 0 {
		o.CPUs = 2
	}
	m, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return m
}

func newMap(t testing.TB, m *Machine, def catalog.MapDef) maps.Map {
	t.Helper()
	mp, err := m.NewMap(def)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(mp.Close)
	return mp
}

// program makes a program of hand-made rewritten code.
func program(t testing.TB, m *Machine, subs []verifier.Subprog, parts ...isa.Part) *Program {
	t.Helper()
	p, err := m.NewProgram(&rewrite.Program{
		Insns: isa.Program(parts...), Subprogs: subs,
		Source: &verifier.Program{Name: "test", Type: catalog.ProgXDP},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// programOn is program with one map behind all its calls, as the verifier would
// say, so that engines may look up by themselves.
func programOn(t testing.TB, m *Machine, def *catalog.MapDef, parts ...isa.Part) *Program {
	t.Helper()
	return programOnMaps(t, m, func(int) *catalog.MapDef { return def }, isa.Program(parts...))
}

// programOnMaps is programOn with a map for each call, by number.
func programOnMaps(t testing.TB, m *Machine, def func(call int) *catalog.MapDef, insns []isa.Instruction) *Program {
	t.Helper()
	rw := &rewrite.Program{
		Insns: insns, Source: &verifier.Program{Name: "test", Type: catalog.ProgXDP}, Facts: &verifier.Result{},
	}
	call := 0
	for pc, ins := range rw.Insns {
		rw.Orig = append(rw.Orig, int32(pc))
		facts := verifier.InsnFacts{Seen: true}
		if ins.IsHelperCall() {
			facts.Map = def(call)
			call++
		}
		rw.Facts.Insns = append(rw.Facts.Insns, facts)
	}
	p, err := m.NewProgram(rw, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// each runs f on every engine: native code where there is any, the interpreter, its checked mode.
func each(t *testing.T, o Options, f func(t *testing.T, m *Machine)) {
	engines := []struct {
		name    string
		jit     JIT
		checked bool
	}{{"native", JITOn, false}, {"interpreter", JITOff, false}, {"checked", JITAuto, true}}
	for _, e := range engines {
		if e.jit == JITOn && jit.Available() != nil {
			continue
		}
		o.JIT, o.Checked = e.jit, e.checked
		t.Run(e.name, func(t *testing.T) { f(t, newMachine(t, o)) })
	}
}

func runOn(t testing.TB, m *Machine, p *Program) uint64 {
	t.Helper()
	c := m.Acquire()
	defer c.Release()
	if err := c.Packet().SetXDP(make([]byte, 64), packetOptions); err != nil {
		t.Fatal(err)
	}
	r0, err := c.Run(p, c.Packet().Addr(), c.Packet())
	if err != nil {
		t.Fatal(err)
	}
	return r0
}

func u32(v uint32) []byte { return binary.LittleEndian.AppendUint32(nil, v) }

func TestRunReachesHelpers(t *testing.T) {
	each(t, Options{}, func(t *testing.T, m *Machine) {
		p := program(t, m, nil, isa.HelperCall(int32(catalog.FnGetSmpProcessorID)), isa.ExitInsn())
		for id := range m.CPUs() {
			c := m.AcquireCPU(id)
			if r0, err := c.Run(p, c.Packet().Addr(), c.Packet()); err != nil || r0 != uint64(id) {
				t.Errorf("on CPU %d: %d, %v", id, r0, err)
			}
			c.Release()
		}
		if runs, took := p.Stats(); runs != 2 || took != 0 {
			t.Errorf("%d runs in %v, want 2 not timed", runs, took)
		}
		m.CountTime(true)
		runOn(t, m, p)
		if runs, took := p.Stats(); runs != 3 || took <= 0 {
			t.Errorf("%d runs in %v, want 3 with the last one timed", runs, took)
		}
	})
}

func TestTailCallThroughMap(t *testing.T) {
	each(t, Options{}, func(t *testing.T, m *Machine) {
		jumps := newMap(t, m, catalog.MapDef{Type: catalog.MapProgArray, KeySize: 4, ValueSize: 4, MaxEntries: 2})
		caller := program(t, m, nil,
			isa.LdImm64(isa.R2, jumps.Def().Ptr), isa.Mov64Imm(isa.R3, 1),
			isa.HelperCall(int32(catalog.FnTailCall)), isa.Mov64Imm(isa.R0, 1), isa.ExitInsn())
		if r0 := runOn(t, m, caller); r0 != 1 {
			t.Errorf("empty slot: R0 = %d, want 1", r0)
		}
		target := program(t, m, nil, isa.Mov64Imm(isa.R0, 2), isa.ExitInsn())
		if err := jumps.Update(u32(1), u32(target.ID()), 0); err != nil {
			t.Fatal(err)
		}
		if r0 := runOn(t, m, caller); r0 != 2 {
			t.Errorf("R0 = %d, want the target's 2", r0)
		}
		if err := jumps.Update(u32(0), u32(caller.ID()+1000), 0); !errors.Is(err, errno.EBADF) {
			t.Errorf("no such program: %v, want EBADF", err)
		}
		// A program that calls itself ends after the limit.
		if err := jumps.Update(u32(1), u32(caller.ID()), 0); err != nil {
			t.Fatal(err)
		}
		if r0 := runOn(t, m, caller); r0 != 1 {
			t.Errorf("endless chain: R0 = %d, want 1", r0)
		}
	})
}

func TestNothingOfTheLastRunIsLeft(t *testing.T) {
	m := newMachine(t, Options{CPUs: 1})
	redirect := program(t, m, nil, isa.Mov64Imm(isa.R1, 7), isa.Mov64Imm(isa.R2, 0),
		isa.HelperCall(int32(catalog.FnRedirect)), isa.ExitInsn())
	pass := program(t, m, nil, isa.Mov64Imm(isa.R0, 2), isa.ExitInsn())
	c := m.Acquire()
	defer c.Release()
	c.Packet().SetXDP(make([]byte, 64), packetOptions)
	c.Run(redirect, c.Packet().Addr(), c.Packet())
	if c.Redirect().Ifindex != 7 {
		t.Errorf("redirect: %+v", c.Redirect())
	}
	c.Run(pass, c.Packet().Addr(), c.Packet())
	if c.Redirect().Ifindex != 0 {
		t.Errorf("the redirect of the last run is still there: %+v", c.Redirect())
	}
}

// TestRunsAlike runs programs again and again on one CPU, where what the last run needed
// no reset for is not set up anew: every run must still be as if it were the first, and be counted.
func TestRunsAlike(t *testing.T) {
	each(t, Options{CPUs: 1}, func(t *testing.T, m *Machine) {
		// Redirects when the packet's first byte is not 0, and returns it.
		may := program(t, m, nil, isa.Mov64Reg(isa.R6, isa.R1), isa.LoadMem(isa.DW, isa.R6, isa.R6, catalog.FrameData),
			isa.LoadMem(isa.B, isa.R6, isa.R6, 0), isa.JmpImm(isa.Jeq, isa.R6, 0, 3),
			isa.Mov64Imm(isa.R1, 7), isa.Mov64Imm(isa.R2, 0), isa.HelperCall(int32(catalog.FnRedirect)),
			isa.Mov64Reg(isa.R0, isa.R6), isa.ExitInsn())
		other := program(t, m, nil, isa.Mov64Imm(isa.R0, 2), isa.ExitInsn())
		c := m.Acquire()
		defer c.Release()
		c.Packet().SetXDP(make([]byte, 64), packetOptions)
		r := rand.New(rand.NewPCG(1, 2))
		var runs, others, timed uint64
		for i := range 2000 {
			switch r.IntN(20) {
			case 0:
				m.CountTime(!m.stats.Load())
			case 1:
				if r0, err := c.RunPacket(other); r0 != 2 || err != nil || c.Redirect().Kind != helpers.RedirectNone {
					t.Fatalf("run %d, of the other program: %d, %v, %+v", i, r0, err, c.Redirect())
				}
				others++
			}
			first := byte(0)
			if r.IntN(8) == 0 {
				first = byte(i) | 1
			}
			c.Packet().Bytes()[0] = first
			r0, err := c.RunPacket(may)
			if kind := c.Redirect().Kind; err != nil || r0 != uint64(first) || (kind != helpers.RedirectNone) != (first != 0) {
				t.Fatalf("run %d on %d: %d, %v, redirect %v", i, first, r0, err, kind)
			}
			if runs++; m.stats.Load() {
				timed++
			}
			if got, _ := may.Stats(); got != runs {
				t.Fatalf("%d runs are counted, want %d", got, runs)
			}
			if got, _ := may.Timed(); got != timed {
				t.Fatalf("run %d: %d runs are timed, want %d", i, got, timed)
			}
		}
		if got, _ := other.Stats(); got != others {
			t.Errorf("%d runs of the other program are counted, want %d", got, others)
		}
	})
}

func TestUnsupportedHelper(t *testing.T) {
	m := newMachine(t, Options{})
	_, err := m.NewProgram(&rewrite.Program{
		Insns:  isa.Program(isa.Mov64Imm(isa.R0, 0), isa.HelperCall(int32(catalog.FnGetStackid)), isa.ExitInsn()),
		Source: &verifier.Program{Name: "test", Type: catalog.ProgXDP},
	}, nil)
	if !errors.Is(err, errors.ErrUnsupported) {
		t.Fatalf("%v, want ErrUnsupported", err)
	}
	if e := (*UnsupportedError)(nil); !errors.As(err, &e) || e.Slot != 1 || e.Name != "bpf_get_stackid" {
		t.Errorf("%v", err)
	}
}

func TestDeterminism(t *testing.T) {
	clock := func() Clock { return NewManualClock(5e9, time.Unix(1e9, 0)) }
	var first []uint64
	for range 2 {
		m := newMachine(t, Options{CPUs: 2, Seeded: true, Seed: 42, Clock: clock()})
		p := program(t, m, nil,
			isa.HelperCall(int32(catalog.FnGetPrandomU32)), isa.Mov64Reg(isa.R6, isa.R0),
			isa.HelperCall(int32(catalog.FnKtimeGetNs)), isa.ALU64Reg(isa.Add, isa.R0, isa.R6), isa.ExitInsn())
		var got []uint64
		for id := range 2 {
			c := m.AcquireCPU(id)
			for range 4 {
				r0, err := c.Run(p, 0, nil)
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, r0)
			}
			c.Release()
		}
		table := newMap(t, m, catalog.MapDef{Type: catalog.MapHash, KeySize: 4, ValueSize: 4, MaxEntries: 64})
		for i := range uint32(32) {
			if err := table.Update(u32(i), u32(i), 0); err != nil {
				t.Fatal(err)
			}
		}
		key := make([]byte, 4)
		for err := table.NextKey(nil, key); err == nil; err = table.NextKey(key, key) {
			got = append(got, uint64(binary.LittleEndian.Uint32(key)))
		}
		if first == nil {
			first = got
		}
		for i := range got {
			if got[i] != first[i] {
				t.Errorf("run %d: %#x, then %#x", i, first[i], got[i])
			}
		}
		if got[0] == got[4] {
			t.Error("both CPUs draw the same numbers")
		}
	}
}

func TestRunUntil(t *testing.T) {
	endless := []isa.Part{isa.Mov64Imm(isa.R0, 0), isa.Goto(-1), isa.ExitInsn()}
	each(t, Options{CPUs: 1}, func(t *testing.T, m *Machine) {
		loop := program(t, m, nil, endless...)
		c := m.Acquire()
		defer c.Release()
		done := make(chan struct{})
		go close(done)
		if _, err := c.RunUntil(done, loop, 0, nil); !errors.Is(err, ErrInterrupted) {
			t.Errorf("%v, want ErrInterrupted", err)
		}
	})
	each(t, Options{CPUs: 1, Budget: 1000}, func(t *testing.T, m *Machine) {
		loop := program(t, m, nil, endless...)
		c := m.Acquire()
		defer c.Release()
		if _, err := c.Run(loop, 0, nil); !errors.Is(err, ErrBudget) {
			t.Errorf("%v, want ErrBudget", err)
		}
	})
}

// More goroutines than CPUs: each run owns its vCPU, none is lost, and those
// who ask for a certain one get it.
func TestAcquireUnderContention(t *testing.T) {
	m := newMachine(t, Options{CPUs: 3})
	owner := make([]int, 3) // not atomic: the race detector watches
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 2000 {
				var c *CPU
				if i%5 == 0 {
					c = m.AcquireCPU(g % 3)
				} else {
					c = m.Acquire()
				}
				owner[c.ID()] = g
				if owner[c.ID()] != g {
					t.Errorf("CPU %d has two owners", c.ID())
				}
				c.Release()
			}
		})
	}
	wg.Wait()
}

func TestRunAllocatesNothing(t *testing.T) {
	each(t, Options{CPUs: 1}, func(t *testing.T, m *Machine) {
		if m.opts.Checked {
			t.Skip("checked mode keeps books")
		}
		counts := newMap(t, m, catalog.MapDef{Type: catalog.MapArray, KeySize: 4, ValueSize: 8, MaxEntries: 4})
		p := program(t, m, nil,
			isa.StoreImm(isa.W, isa.RFP, -4, 1),
			isa.LdImm64(isa.R1, counts.Def().Ptr), isa.Mov64Reg(isa.R2, isa.RFP), isa.ALU64Imm(isa.Add, isa.R2, -4),
			isa.HelperCall(int32(catalog.FnMapLookupElem)),
			isa.Mov64Imm(isa.R1, 1), isa.Atomic(isa.AtomicAdd, isa.DW, isa.R0, isa.R1, 0),
			isa.Mov64Imm(isa.R0, 2), isa.ExitInsn())
		if n := testing.AllocsPerRun(1000, func() {
			c := m.Acquire()
			c.RunPacket(p)
			c.Release()
		}); n != 0 {
			t.Errorf("%v allocations per run", n)
		}
		v := make([]byte, 8)
		if err := counts.Lookup(u32(1), v, 0); err != nil || binary.LittleEndian.Uint64(v) != 1001 {
			t.Errorf("counter %v, %v; want 1001", v, err)
		}
	})
}

// A map outlives its user's handle as long as a program uses it.
func TestProgramHoldsItsMaps(t *testing.T) {
	m := newMachine(t, Options{})
	mp, err := m.NewMap(catalog.MapDef{Type: catalog.MapArray, KeySize: 4, ValueSize: 8, MaxEntries: 1})
	if err != nil {
		t.Fatal(err)
	}
	p, err := m.NewProgram(&rewrite.Program{
		Insns:  isa.Program(isa.LdImm64(isa.R1, mp.Def().ValueBase), isa.LoadMem(isa.DW, isa.R0, isa.R1, 0), isa.ExitInsn()),
		Source: &verifier.Program{Name: "test", Type: catalog.ProgXDP},
	}, []maps.Map{mp})
	if err != nil {
		t.Fatal(err)
	}
	at := mp.Def().ValueBase
	mp.Close()
	if runOn(t, m, p); !mem.Readable(at, 8) {
		t.Error("the map went away under its program")
	}
	if got := m.Program(p.ID()); got != p {
		t.Errorf("by id: %v", got)
	} else {
		got.Close()
	}
	p.Close()
	m.Epoch.Wait()
	if mem.Readable(at, 8) {
		t.Error("the map outlived its program")
	}
	if m.Program(p.Info.ID) != nil {
		t.Error("a closed program is found by its id")
	}
}

func BenchmarkEmptyProgram(b *testing.B) {
	m := newMachine(b, Options{CPUs: 1})
	p := program(b, m, nil, isa.Mov64Imm(isa.R0, 2), isa.ExitInsn())
	b.Run("acquired", func(b *testing.B) {
		for b.Loop() {
			c := m.Acquire()
			c.Run(p, c.Packet().Addr(), c.Packet())
			c.Release()
		}
	})
	b.Run("held", func(b *testing.B) {
		c := m.Acquire()
		defer c.Release()
		for b.Loop() {
			c.Run(p, c.Packet().Addr(), c.Packet())
		}
	})
}

// A prog_array and a program in it that uses it go when nobody outside holds the array.
func TestProgArrayCycle(t *testing.T) {
	m := newMachine(t, Options{})
	jumps, err := m.NewMap(catalog.MapDef{Type: catalog.MapProgArray, KeySize: 4, ValueSize: 4, MaxEntries: 1})
	if err != nil {
		t.Fatal(err)
	}
	p, err := m.NewProgram(&rewrite.Program{
		Insns:  isa.Program(isa.Mov64Imm(isa.R0, 0), isa.ExitInsn()),
		Source: &verifier.Program{Name: "test", Type: catalog.ProgXDP},
	}, []maps.Map{jumps})
	if err != nil {
		t.Fatal(err)
	}
	if err := jumps.Update(u32(0), u32(p.ID()), 0); err != nil {
		t.Fatal(err)
	}
	id, header := p.ID(), jumps.Def().Ptr
	p.Close()
	if q := m.Program(id); q == nil {
		t.Error("the array does not hold its program")
	} else {
		q.Close()
	}
	m.CloseMap(jumps)
	m.Epoch.Reclaim()
	if m.Program(id) != nil || m.Map(header) != nil {
		t.Error("program and array keep each other for ever")
	}
}
