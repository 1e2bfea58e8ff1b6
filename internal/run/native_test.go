//go:build unix

package run

import (
	"errors"
	"os"
	"runtime"
	"runtime/pprof"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/mem"
	"github.com/skep-bpf/skep/internal/rewrite"
	"github.com/skep-bpf/skep/internal/verifier"
	"github.com/skep-bpf/skep/isa"
)

// A program tail-called in a subprogram returns to the subprogram's caller: in
// the calling program, with its registers, and helpers see that program again.
func TestTailCallOutOfSubprogram(t *testing.T) {
	each(t, Options{CPUs: 1}, func(t *testing.T, m *Machine) {
		jumps := newMap(t, m, catalog.MapDef{Type: catalog.MapProgArray, KeySize: 4, ValueSize: 4, MaxEntries: 3})
		call := func(slot int32) isa.Part {
			return isa.Instructions(isa.Program(isa.LdImm64(isa.R2, jumps.Def().Ptr), isa.Mov64Imm(isa.R3, slot), isa.HelperCall(int32(catalog.FnTailCall))))
		}
		// main: r6…r9 = 1…4; r0 = sub(ctx); the sum of all if the stack is as it was.
		caller := program(t, m, []verifier.Subprog{{End: 18, StackDepth: 8}, {Start: 18, End: 29, StackDepth: 16}},
			isa.Mov64Imm(isa.R6, 1), isa.Mov64Imm(isa.R7, 2), isa.Mov64Imm(isa.R8, 3), isa.Mov64Imm(isa.R9, 4),
			isa.StoreImm(isa.DW, isa.RFP, -8, 77),
			isa.LocalCall(12),
			isa.ALU64Reg(isa.Add, isa.R0, isa.R6), isa.ALU64Reg(isa.Add, isa.R0, isa.R7),
			isa.ALU64Reg(isa.Add, isa.R0, isa.R8), isa.ALU64Reg(isa.Add, isa.R0, isa.R9),
			isa.LoadMem(isa.DW, isa.R1, isa.RFP, -8), isa.ALU64Reg(isa.Add, isa.R0, isa.R1),
			isa.Mov64Reg(isa.R6, isa.R0), isa.HelperCall(int32(catalog.FnJiffies64)),
			isa.Mov64Imm(isa.R0, 0), isa.ALU64Reg(isa.Add, isa.R0, isa.R6), isa.ALU64Imm(isa.Add, isa.R0, 0), isa.ExitInsn(),
			// sub
			isa.Mov64Imm(isa.R6, 60), isa.Mov64Imm(isa.R8, 80), isa.StoreImm(isa.DW, isa.RFP, -8, 9), isa.StoreImm(isa.DW, isa.RFP, -16, 9),
			call(0), isa.Mov64Imm(isa.R0, 5000), isa.ALU64Imm(isa.Add, isa.R0, 1), isa.ExitInsn())
		first := program(t, m, nil, isa.Mov64Imm(isa.R7, 9), isa.Mov64Imm(isa.R9, 9), call(1), isa.Mov64Imm(isa.R0, 6000), isa.ExitInsn())
		last := program(t, m, nil, isa.Mov64Imm(isa.R6, 6), isa.Mov64Imm(isa.R9, 9), isa.Mov64Imm(isa.R0, 100), isa.ExitInsn())
		for _, c := range []struct {
			set  map[uint32]*Program
			want uint64
		}{
			{nil, 5001 + 10 + 77},
			{map[uint32]*Program{0: last}, 100 + 10 + 77},
			{map[uint32]*Program{0: first}, 6000 + 10 + 77},
			{map[uint32]*Program{0: first, 1: last}, 100 + 10 + 77},
			{map[uint32]*Program{0: first, 1: first}, 6000 + 10 + 77}, // until the limit
			{map[uint32]*Program{0: caller}, 5001 + 34*(10+77)},       // a frame kept for each
		} {
			for slot, p := range c.set {
				if err := jumps.Update(u32(slot), u32(p.ID()), 0); err != nil {
					t.Fatal(err)
				}
			}
			if r0 := runOn(t, m, caller); r0 != c.want {
				t.Errorf("slots %v: R0 = %d, want %d", c.set, r0, c.want)
			}
			if cpu := m.cpus[0]; cpu.prog != caller {
				t.Errorf("slots %v: at the end the running program is another", c.set)
			}
			for slot := range c.set {
				jumps.Delete(u32(slot))
			}
		}
	})
}

// Loads that probe read what is there and zero where nothing is; the block
// found once is read without leaving native code, to its last byte and no further.
func TestProbe(t *testing.T) {
	block, err := mem.AllocGuarded(4096 + 12)
	if err != nil {
		t.Fatal(err)
	}
	defer block.Free()
	for i := range block.Bytes() {
		block.Bytes()[i] = byte(0x80 + i)
	}
	each(t, Options{CPUs: 1}, func(t *testing.T, m *Machine) {
		if m.opts.Checked {
			t.Skip("the block is not the run's")
		}
		for size, op := range map[int]isa.Opcode{1: isa.B, 2: isa.H, 4: isa.W, 8: isa.DW} {
			for _, mode := range []isa.Opcode{isa.ModeProbeMEM, isa.ModeProbeMEMSX} {
				if size == 8 && mode == isa.ModeProbeMEMSX {
					continue
				}
				probe := isa.Instruction{Op: isa.Opcode(isa.ClassLDX) | mode | op, Dst: isa.R0, Src: isa.R2, Off: 4}
				for _, off := range []int64{-5, -4, 0, 40, 4095, 4096 + 12 - 8 - 4, 4096 + 12 - int64(size) - 4, 4096 + 12 - int64(size) - 3, 1 << 40, -1 << 62} {
					at := block.Addr() + uint64(off)
					p := program(t, m, nil,
						isa.LdImm64(isa.R3, block.Addr()), isa.Instruction{Op: isa.Opcode(isa.ClassLDX) | isa.ModeProbeMEM | isa.B, Dst: isa.R4, Src: isa.R3},
						isa.LdImm64(isa.R2, at), probe, isa.ExitInsn())
					var want uint64
					if lo := off + 4; lo >= 0 && lo+int64(size) <= 4096+12 {
						for i := range int64(size) {
							want |= uint64(block.Bytes()[lo+i]) << (8 * i)
						}
						if mode == isa.ModeProbeMEMSX {
							want = uint64(int64(want<<(64-8*size)) >> (64 - 8*size))
						}
					}
					if r0 := runOn(t, m, p); r0 != want {
						t.Errorf("%d bytes, mode %#x at %d: %#x, want %#x", size, mode, off+4, r0, want)
					}
				}
			}
		}
	})
}

// The collector gets its turn beside a program that never ends by itself.
func TestCollectorBesideEndlessProgram(t *testing.T) {
	m := newMachine(t, Options{CPUs: 1})
	p := program(t, m, nil, isa.Mov64Imm(isa.R0, 0), isa.Goto(-1), isa.ExitInsn())
	done, ended := make(chan struct{}), make(chan error)
	go func() {
		c := m.Acquire()
		defer c.Release()
		_, err := c.RunUntil(done, p, 0, nil)
		ended <- err
	}()
	for range 5 {
		runtime.GC() // hangs if the run passes no safepoint
	}
	close(done)
	if err := <-ended; !errors.Is(err, ErrInterrupted) {
		t.Errorf("%v, want ErrInterrupted", err)
	}
}

// TestNativeStress runs native code on every vCPU, in and out of it all the
// time, with its registers and stack watched by the program itself, while
// signals storm, the profiler samples, the collector runs, stacks grow and maps
// change. SKEP_STRESS sets how long ("60s"), else five seconds.
func TestNativeStress(t *testing.T) {
	d := 5 * time.Second
	if testing.Short() {
		d = 200 * time.Millisecond
	}
	if s := os.Getenv("SKEP_STRESS"); s != "" {
		var err error
		if d, err = time.ParseDuration(s); err != nil {
			t.Fatal(err)
		}
	}
	m := newMachine(t, Options{CPUs: 4})
	table := newMap(t, m, catalog.MapDef{Type: catalog.MapHash, KeySize: 4, ValueSize: 16, MaxEntries: 64})
	jumps := newMap(t, m, catalog.MapDef{Type: catalog.MapProgArray, KeySize: 4, ValueSize: 4, MaxEntries: 1})
	p, tail := stressProgram(t, m, table.Def().Ptr, jumps.Def().Ptr)
	if f, err := os.CreateTemp(t.TempDir(), "profile"); err == nil && pprof.StartCPUProfile(f) == nil {
		defer pprof.StopCPUProfile()
	}

	var stop atomic.Bool
	var runs atomic.Int64
	var wg sync.WaitGroup
	for g := range 6 {
		wg.Go(func() {
			for !stop.Load() {
				c := m.Acquire()
				r0, err := c.Run(p, c.Packet().Addr(), c.Packet())
				c.Release()
				if err != nil || r0 != 0 {
					t.Errorf("check %d of the program failed (%v)", int64(r0), err)
					return
				}
				runs.Add(1)
				if g == 0 {
					deep(200)
				}
			}
		})
	}
	change := func(f func(i uint32)) {
		wg.Go(func() {
			for i := uint32(0); !stop.Load(); i++ {
				f(i)
			}
		})
	}
	change(func(i uint32) { table.Update(u32(i%96), make([]byte, 16), 0); table.Delete(u32((i + 7) % 96)) })
	change(func(i uint32) {
		jumps.Update(u32(0), u32(tail.ID()), 0)
		jumps.Delete(u32(0))
		runtime.Gosched()
	})
	change(func(uint32) { runtime.GC() })
	change(func(uint32) { syscall.Kill(os.Getpid(), syscall.SIGURG); time.Sleep(20 * time.Microsecond) })
	change(func(uint32) { // programs come and go beside those that run
		q, err := m.NewProgram(p.Rewritten, nil)
		if err != nil {
			t.Error(err)
			return
		}
		q.Close()
		time.Sleep(time.Millisecond)
	})
	time.Sleep(d)
	stop.Store(true)
	wg.Wait()
	if runs.Load() == 0 {
		t.Error("no run ended")
	}
	t.Logf("%d runs", runs.Load())
}

// deep makes the goroutine's stack grow.
func deep(n int) int {
	var pad [64]int
	if n == 0 {
		return pad[n]
	}
	return deep(n-1) + pad[n%64]
}

// stressProgram makes a program that leaves native code in every way, and
// returns which of its checks failed, or 0; and one it may tail-call.
func stressProgram(t *testing.T, m *Machine, table, jumps uint64) (p, tail *Program) {
	helper := func(id catalog.HelperID) isa.Part { return isa.HelperCall(int32(id)) }
	check := func(r isa.Register, want int32, code int32) isa.Part {
		return isa.Instructions(isa.Program(isa.JmpImm(isa.Jeq, r, want, 2), isa.Mov64Imm(isa.R0, code), isa.ExitInsn()))
	}
	main := isa.Program(
		isa.Mov64Imm(isa.R6, 600), isa.Mov64Imm(isa.R7, 20), isa.Mov64Imm(isa.R8, 800), isa.Mov64Imm(isa.R9, 900),
		isa.StoreImm(isa.DW, isa.RFP, -8, 88), isa.StoreImm(isa.DW, isa.RFP, -16, 0))
	top := len(main)
	main = append(main, isa.Program(
		// A value of the table may go away under the run, not be reused.
		helper(catalog.FnGetPrandomU32), isa.ALU64Imm(isa.And, isa.R0, 63), isa.StoreMem(isa.W, isa.RFP, isa.R0, -20),
		isa.LdImm64(isa.R1, table), isa.Mov64Reg(isa.R2, isa.RFP), isa.ALU64Imm(isa.Add, isa.R2, -20),
		helper(catalog.FnMapLookupElem), isa.JmpImm(isa.Jeq, isa.R0, 0, 2),
		isa.Mov64Imm(isa.R1, 1), isa.Atomic(isa.AtomicAdd, isa.DW, isa.R0, isa.R1, 8),
		// Five rounds of a callback that leaves, too; and a tail call out of a subprogram.
		isa.Mov64Imm(isa.R1, 5), isa.LdFunc(isa.R2, 0), isa.Mov64Reg(isa.R3, isa.RFP), isa.Mov64Imm(isa.R4, 0),
		helper(catalog.FnLoop), check(isa.R0, 5, 1),
		isa.Mov64Imm(isa.R1, 3), isa.LocalCall(0), check(isa.R0, 42, 2),
		check(isa.R6, 600, 3), check(isa.R8, 800, 4), check(isa.R9, 900, 5),
		isa.LoadMem(isa.DW, isa.R1, isa.RFP, -8), check(isa.R1, 88, 6),
		isa.ALU64Imm(isa.Sub, isa.R7, 1))...)
	main = append(main, isa.JmpImm(isa.Jne, isa.R7, 0, int16(top-len(main)-1)))
	main = append(main, isa.Program(
		isa.LoadMem(isa.DW, isa.R1, isa.RFP, -16), check(isa.R1, 100, 7), isa.Mov64Imm(isa.R0, 0), isa.ExitInsn())...)

	callback := isa.Program(isa.Mov64Reg(isa.R6, isa.R2), isa.Mov64Imm(isa.R9, 1), helper(catalog.FnKtimeGetNs), helper(catalog.FnJiffies64),
		isa.ALU64Reg(isa.Add, isa.R9, isa.R9),
		isa.LoadMem(isa.DW, isa.R1, isa.R6, -16), isa.ALU64Imm(isa.Add, isa.R1, 1), isa.StoreMem(isa.DW, isa.R6, isa.R1, -16),
		isa.Mov64Imm(isa.R0, 0), isa.ExitInsn())
	sub := isa.Program(isa.Mov64Imm(isa.R8, 1), isa.StoreImm(isa.DW, isa.RFP, -8, 1),
		isa.LdImm64(isa.R2, jumps), isa.Mov64Imm(isa.R3, 0), helper(catalog.FnTailCall),
		isa.Mov64Imm(isa.R0, 42), isa.ExitInsn())
	code := append(append(append([]isa.Instruction{}, main...), callback...), sub...)
	for pc, ins := range code {
		switch {
		case ins.IsLoadImm64() && ins.Src == isa.PseudoFunc:
			code[pc].Imm = int32(len(main) - pc - 1)
		case ins.IsLocalCall():
			code[pc].Imm = int32(len(main) + len(callback) - pc - 1)
		}
	}
	p = program(t, m, []verifier.Subprog{
		{End: len(main), StackDepth: 24},
		{Start: len(main), End: len(main) + len(callback), Callback: true},
		{Start: len(main) + len(callback), End: len(code), StackDepth: 8, TailCalls: true},
	}, isa.Instructions(code))
	tail = program(t, m, nil, isa.Mov64Imm(isa.R6, 1), isa.Mov64Imm(isa.R7, 1), isa.Mov64Imm(isa.R9, 1), helper(catalog.FnKtimeGetNs), helper(catalog.FnJiffies64),
		isa.StoreImm(isa.DW, isa.RFP, -8, 1), isa.Mov64Imm(isa.R0, 42), isa.ExitInsn())
	return p, tail
}

// Programs are called by tail while others take their places in the array and
// they are freed: a call goes to what is there, or goes on, and never to what was.
func TestTailCallsUnderChange(t *testing.T) {
	m := newMachine(t, Options{CPUs: 4})
	const slots, rounds = 3, 50
	jumps := newMap(t, m, catalog.MapDef{Type: catalog.MapProgArray, KeySize: 4, ValueSize: 4, MaxEntries: slots})
	jump := func(i uint32) isa.Part {
		return isa.Instructions(isa.Program(isa.Mov64Reg(isa.R1, isa.R6), isa.LdImm64(isa.R2, jumps.Def().Ptr), isa.Mov64Imm(isa.R3, int32(i)),
			isa.HelperCall(int32(catalog.FnTailCall))))
	}
	// Slot 0 goes on to slot 1, which leaves native code, and that to 2, which returns its number.
	link := func(i uint32) *Program {
		parts := []isa.Part{isa.Mov64Reg(isa.R6, isa.R1)}
		if i == 1 {
			parts = append(parts, isa.HelperCall(int32(catalog.FnJiffies64)))
		}
		if i+1 < slots {
			parts = append(parts, jump(i+1))
		}
		parts = append(parts, isa.Mov64Imm(isa.R0, int32(100+i)), isa.ExitInsn())
		p, err := m.NewProgram(&rewrite.Program{
			Insns: isa.Program(parts...), Source: &verifier.Program{Name: "link", Type: catalog.ProgXDP},
		}, nil)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	// put makes a program that nobody but its slot holds.
	put := func(slot uint32) {
		p := link(slot)
		defer p.Close()
		if err := jumps.Update(u32(slot), u32(p.ID()), 0); err != nil {
			t.Error(err)
		}
	}
	caller := program(t, m, nil, isa.Mov64Reg(isa.R6, isa.R1), jump(0), isa.Mov64Imm(isa.R0, 99), isa.ExitInsn())
	var stop atomic.Bool
	var wg sync.WaitGroup
	var seen [slots + 1]atomic.Int64
	for range 3 {
		wg.Go(func() {
			for !stop.Load() {
				c := m.Acquire()
				r0, err := c.Run(caller, c.Packet().Addr(), c.Packet())
				c.Release()
				if err != nil || r0 < 99 || r0 > 99+slots {
					t.Errorf("%d (%v)", r0, err)
					return
				}
				seen[r0-99].Add(1)
			}
		})
	}
	for i := range rounds {
		for slot := range uint32(slots) {
			if (i+int(slot))%5 == 0 {
				jumps.Delete(u32(slot))
				continue
			}
			put(slot)
		}
		runtime.Gosched()
	}
	// Each of them is seen in the end, too.
	for slot := range uint32(slots) {
		for before := seen[slot].Load(); seen[slot].Load() == before; {
			jumps.Delete(u32(slot))
			runtime.Gosched()
		}
		put(slot)
	}
	for slot := range uint32(slots) {
		jumps.Delete(u32(slot))
	}
	stop.Store(true)
	wg.Wait()
}
