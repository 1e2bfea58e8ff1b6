package interp

import (
	"errors"
	"runtime"
	"testing"
	"unsafe"

	"github.com/skep-bpf/skep/internal/rewrite"
	"github.com/skep-bpf/skep/internal/verifier"
	"github.com/skep-bpf/skep/isa"
)

// services is a run around a VM with a few helpers of its own.
type services struct {
	vm      *VM
	next    *Program // what bpf_tail_call chooses
	running *Program
	packet  []byte
}

const (
	callBack = 1000 // calls R1 with R2 as its argument
	throw    = 1001
	addAll   = 1002
)

func (s *services) Helper(id int32, r1, r2, r3, r4, r5 uint64) uint64 {
	switch id {
	case callBack:
		return s.vm.Call(r1, r2, 0, 0, 0, 0)
	case throw:
		s.vm.Throw(r1)
	}
	return r1 + r2 + r3 + r4 + r5
}

func (s *services) Kfunc(ins isa.Instruction, r1, r2, r3, r4, r5 uint64) uint64 {
	return uint64(ins.Imm) + r1
}

func (s *services) LoadPacket(off int32, size int) (uint32, bool) {
	if off < 0 || int(off)+size > len(s.packet) {
		return 0, false
	}
	var v uint32
	for _, b := range s.packet[off : int(off)+size] {
		v = v<<8 | uint32(b)
	}
	return v, true
}

func (s *services) TailCall() *Program { return s.next }
func (s *services) Running(p *Program) { s.running = p }

func newVM(t testing.TB) (*VM, *services) {
	t.Helper()
	s := &services{}
	vm, err := New(s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(vm.Close)
	s.vm = vm
	return vm, s
}

func prepare(t testing.TB, subprogs []verifier.Subprog, parts ...isa.Part) *Program {
	t.Helper()
	p, err := Prepare(&rewrite.Program{Insns: isa.Program(parts...), Subprogs: subprogs})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// pin keeps v in place and gives its address, as off-heap memory has one.
func pin(t *testing.T, v *uint64) uint64 {
	var p runtime.Pinner
	p.Pin(v)
	t.Cleanup(p.Unpin)
	return uint64(uintptr(unsafe.Pointer(v)))
}

// split makes two functions of slots 0 to end, the second from slot at.
func split(at, end int) []verifier.Subprog {
	return []verifier.Subprog{{Start: 0, End: at, StackDepth: 16}, {Start: at, End: end, StackDepth: 16}}
}

func TestLocalCall(t *testing.T) {
	vm, _ := newVM(t)
	p := prepare(t, split(9, 13),
		isa.Mov64Imm(isa.R6, 5),
		isa.StoreImm(isa.DW, isa.RFP, -8, 7),
		isa.Mov64Reg(isa.R1, isa.RFP),
		isa.LocalCall(5),
		isa.ALU64Reg(isa.Add, isa.R0, isa.R6), // R6 survived
		isa.LoadMem(isa.DW, isa.R1, isa.RFP, -8),
		isa.ALU64Reg(isa.Add, isa.R0, isa.R1), // so did the caller's stack
		isa.ExitInsn(),
		isa.ExitInsn(),
		isa.Mov64Imm(isa.R6, 100),
		isa.StoreImm(isa.DW, isa.RFP, -8, 1),
		isa.LoadMem(isa.DW, isa.R0, isa.R1, -8), // through the caller's pointer
		isa.ExitInsn(),
	)
	for range 2 {
		if got, err := vm.Run(p, 0, Options{}); err != nil || got != 7+5+7 {
			t.Errorf("R0 = %d, %v; want 19", got, err)
		}
	}
}

func TestCallback(t *testing.T) {
	vm, _ := newVM(t)
	p := prepare(t, split(7, 9),
		isa.Mov64Imm(isa.R7, 3),
		isa.LdFunc(isa.R1, 5),
		isa.Mov64Imm(isa.R2, 20),
		isa.HelperCall(callBack),
		isa.ALU64Reg(isa.Add, isa.R0, isa.R7),
		isa.ExitInsn(),
		isa.Mov64Reg(isa.R0, isa.R1),
		isa.ExitInsn(),
	)
	if got, err := vm.Run(p, 0, Options{}); err != nil || got != 23 {
		t.Errorf("R0 = %d, %v; want 23", got, err)
	}
	if got, err := vm.RunCallback(p, 7, [5]uint64{9}, Options{}); err != nil || got != 9 {
		t.Errorf("by itself: %d, %v; want 9", got, err)
	}
	if _, err := vm.RunCallback(p, 3, [5]uint64{}, Options{}); err == nil {
		t.Error("a slot that begins no function was called")
	}
}

// A tail call takes the caller's place: the new program's R0 goes to whoever
// called the function that made it.
func TestTailCall(t *testing.T) {
	vm, s := newVM(t)
	s.next = prepare(t, nil, isa.Mov64Imm(isa.R0, 40), isa.Mov64Imm(isa.R6, 1), isa.ExitInsn())
	p := prepare(t, split(4, 7),
		isa.Mov64Imm(isa.R6, 2),
		isa.LocalCall(2),
		isa.ALU64Reg(isa.Add, isa.R0, isa.R6),
		isa.ExitInsn(),
		isa.HelperCall(12),
		isa.Mov64Imm(isa.R0, -1),
		isa.ExitInsn(),
	)
	if got, err := vm.Run(p, 0, Options{}); err != nil || got != 42 {
		t.Errorf("R0 = %d, %v; want 42", got, err)
	}
	if s.running != p {
		t.Error("nobody was told that the first program goes on")
	}
	s.next = nil
	if got, err := vm.Run(p, 0, Options{}); err != nil || got != 1 {
		t.Errorf("without a target: R0 = %d, %v; want 1", int64(got), err)
	}
}

func TestTailCallLimit(t *testing.T) {
	vm, s := newVM(t)
	counter := uint64(0)
	p := prepare(t, nil,
		isa.Mov64Reg(isa.R6, isa.R1),
		isa.LoadMem(isa.DW, isa.R2, isa.R6, 0),
		isa.ALU64Imm(isa.Add, isa.R2, 1),
		isa.StoreMem(isa.DW, isa.R6, isa.R2, 0),
		isa.HelperCall(12), // keeps R1 here
		isa.Mov64Imm(isa.R0, 9),
		isa.ExitInsn(),
	)
	s.next = p
	addr := pin(t, &counter)
	if got, err := vm.Run(p, addr, Options{}); err != nil || got != 9 || counter != isa.MaxTailCalls+1 {
		t.Errorf("R0 = %d, %v after %d programs; want 9 after %d", got, err, counter, isa.MaxTailCalls+1)
	}
}

func TestThrow(t *testing.T) {
	vm, _ := newVM(t)
	code := []isa.Part{
		isa.LocalCall(2),
		isa.Mov64Imm(isa.R0, 1),
		isa.ExitInsn(),
		isa.LdFunc(isa.R1, 4), // 3, 4: a function that calls back
		isa.HelperCall(callBack),
		isa.Mov64Imm(isa.R0, 2),
		isa.ExitInsn(),
		isa.Mov64Imm(isa.R1, 77), // 8: the callback throws
		isa.HelperCall(throw),
		isa.ExitInsn(),
		isa.Mov64Reg(isa.R0, isa.R1), // 11: exception callback
		isa.ALU64Imm(isa.Add, isa.R0, 1),
		isa.ExitInsn(),
	}
	subs := []verifier.Subprog{{Start: 0, End: 3}, {Start: 3, End: 8}, {Start: 8, End: 11}, {Start: 11, End: 14}}
	if got, err := vm.Run(prepare(t, subs, code...), 0, Options{}); err != nil || got != 77 {
		t.Errorf("R0 = %d, %v; want the cookie 77", got, err)
	}
	subs[3].Exception = true
	if got, err := vm.Run(prepare(t, subs, code...), 0, Options{}); err != nil || got != 78 {
		t.Errorf("R0 = %d, %v; want 78 from the exception callback", got, err)
	}
}

func TestMayGoto(t *testing.T) {
	vm, _ := newVM(t)
	p := prepare(t, nil,
		isa.Mov64Imm(isa.R0, 0),
		isa.MayGoto(2),
		isa.ALU64Imm(isa.Add, isa.R0, 1),
		isa.Goto(-3),
		isa.ExitInsn(),
	)
	if got, err := vm.Run(p, 0, Options{}); err != nil || got != mayGotoBudget {
		t.Errorf("R0 = %d, %v; want %d", got, err, mayGotoBudget)
	}
}

func TestBudgetAndDone(t *testing.T) {
	vm, _ := newVM(t)
	p := prepare(t, nil, isa.Mov64Imm(isa.R0, 0), isa.Goto(-1), isa.ExitInsn())
	if _, err := vm.Run(p, 0, Options{Budget: 100000}); !errors.Is(err, ErrBudget) {
		t.Errorf("endless loop: %v, want ErrBudget", err)
	}
	done := make(chan struct{})
	close(done)
	if _, err := vm.Run(p, 0, Options{Done: done}); !errors.Is(err, ErrInterrupted) {
		t.Errorf("endless loop: %v, want ErrInterrupted", err)
	}
	short := prepare(t, nil, isa.Mov64Imm(isa.R0, 4), isa.ExitInsn())
	if got, err := vm.Run(short, 0, Options{}); err != nil || got != 4 {
		t.Errorf("the next run: %d, %v", got, err)
	}
}

func TestPacketLoads(t *testing.T) {
	vm, s := newVM(t)
	s.packet = []byte{1, 2, 3, 4, 5, 6}
	for _, c := range []struct {
		name string
		ins  isa.Instruction
		want uint64
	}{
		{"abs word", isa.LoadAbs(isa.W, 1), 0x02030405 + 1},
		{"abs half at the end", isa.LoadAbs(isa.H, 4), 0x0506 + 1},
		{"abs byte", isa.LoadAbs(isa.B, 5), 6 + 1},
		{"ind", isa.LoadInd(isa.B, isa.R7, 1), 4 + 1},
		{"past the end leaves with 0", isa.LoadAbs(isa.W, 3), 0},
	} {
		p := prepare(t, nil, isa.Mov64Imm(isa.R7, 2), c.ins, isa.ALU64Imm(isa.Add, isa.R0, 1), isa.ExitInsn())
		if got, err := vm.Run(p, 0, Options{}); err != nil || got != c.want {
			t.Errorf("%s: %#x, %v; want %#x", c.name, got, err, c.want)
		}
	}
}

// Uninitialised stack reads as zero, whatever the last run left there.
func TestStackIsCleared(t *testing.T) {
	vm, _ := newVM(t)
	dirty := prepare(t, nil, isa.StoreImm(isa.DW, isa.RFP, -512, -1), isa.StoreImm(isa.DW, isa.RFP, -8, -1), isa.Mov64Imm(isa.R0, 0), isa.ExitInsn())
	read := prepare(t, nil, isa.LoadMem(isa.DW, isa.R0, isa.RFP, -512), isa.LoadMem(isa.DW, isa.R1, isa.RFP, -8), isa.ALU64Reg(isa.Or, isa.R0, isa.R1), isa.ExitInsn())
	for _, p := range []*Program{dirty, read} {
		if got, err := vm.Run(p, 0, Options{}); err != nil || got != 0 {
			t.Errorf("R0 = %#x, %v; want 0", got, err)
		}
	}
}

func TestPrepareRefuses(t *testing.T) {
	for name, insns := range map[string][]isa.Instruction{
		"empty":             {},
		"jump out":          isa.Program(isa.Goto(5), isa.ExitInsn()),
		"jump before":       isa.Program(isa.Goto(-3), isa.ExitInsn()),
		"call into nowhere": isa.Program(isa.LocalCall(0), isa.ExitInsn()),
		"map left":          isa.Program(isa.LdMapFD(isa.R1, 3), isa.ExitInsn()),
		"half a load":       {{Op: isa.LoadImm64}},
		"register 12":       isa.Program(isa.Mov64Reg(12, 0), isa.ExitInsn()),
		"unknown opcode":    {{Op: 0xff}},
		"unknown atomic":    isa.Program(isa.Atomic(0x77, isa.DW, isa.R1, isa.R2, 0), isa.ExitInsn()),
	} {
		if _, err := Prepare(&rewrite.Program{Insns: insns}); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestRunAllocatesNothing(t *testing.T) {
	vm, _ := newVM(t)
	p := prepare(t, nil, isa.Mov64Imm(isa.R0, 0), isa.Mov64Imm(isa.R1, 1), isa.HelperCall(addAll), isa.ExitInsn())
	if n := testing.AllocsPerRun(1000, func() { vm.Run(p, 0, Options{}) }); n != 0 {
		t.Errorf("%v allocations per run", n)
	}
}

func BenchmarkLoop(b *testing.B) {
	vm, _ := newVM(b)
	p := prepare(b, nil,
		isa.Mov64Imm(isa.R0, 0), isa.Mov64Imm(isa.R1, 1000),
		isa.ALU64Reg(isa.Add, isa.R0, isa.R1), isa.ALU64Imm(isa.Xor, isa.R0, 5), isa.ALU64Imm(isa.Sub, isa.R1, 1),
		isa.JmpImm(isa.Jne, isa.R1, 0, -4), isa.ExitInsn())
	for b.Loop() {
		vm.Run(p, 0, Options{})
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/4000, "ns/insn")
}
