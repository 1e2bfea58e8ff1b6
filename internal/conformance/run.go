// Package conformance runs bare instructions as the test suites of instruction
// sets do: a program, some memory it finds in R1 with its length in R2, and what
// it leaves in R0. It reads the vectors such suites are written in.
//
// Bare programs run in the checked interpreter, where no access goes astray. Native
// code and the kernel run what their verifier lets pass.
package conformance

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/interp"
	"github.com/skep-bpf/skep/internal/linux"
	"github.com/skep-bpf/skep/internal/maps"
	"github.com/skep-bpf/skep/internal/mem"
	"github.com/skep-bpf/skep/internal/packet"
	"github.com/skep-bpf/skep/internal/rewrite"
	"github.com/skep-bpf/skep/internal/run"
	"github.com/skep-bpf/skep/internal/verifier"
	"github.com/skep-bpf/skep/isa"
)

// Engine is a way to run a program.
type Engine struct {
	Name string
	Doc  string
	// Available says why the engine cannot be used here.
	Available func() error
	// Run runs a program on memory and returns R0. The memory is not changed.
	Run func(prog []isa.Instruction, memory []byte) (uint64, error)
}

// Engines are all there are.
var Engines = []Engine{
	{"interp", "the checked interpreter, without a verifier", func() error { return nil }, interpret},
	{"jit", "native code, of programs the verifier accepts", nativeAvailable,
		func(p []isa.Instruction, m []byte) (uint64, error) { return compiled(p, m, false) }},
	{"jit-blind", "native code with constants blinded", nativeAvailable,
		func(p []isa.Instruction, m []byte) (uint64, error) { return compiled(p, m, true) }},
	{"linux", "the Linux kernel", linux.Available, inKernel},
}

// ByName returns the engine of a name, or nil.
func ByName(name string) *Engine {
	for i := range Engines {
		if Engines[i].Name == name {
			return &Engines[i]
		}
	}
	return nil
}

// budget bounds a run, in instructions gone back over.
const budget = 1 << 22

// errRefused is a program that the verifier did not accept.
var errRefused = errors.New("refused by the verifier")

// interpret runs a program in checked mode, as it is.
func interpret(prog []isa.Instruction, memory []byte) (uint64, error) {
	prog = append(isa.Program(isa.Mov64Imm(isa.R2, int32(len(memory)))), prog...)
	subs, err := functions(prog)
	if err != nil {
		return 0, err
	}
	m, err := run.New(run.Options{CPUs: 1, Checked: true, JIT: run.JITOff, Budget: budget})
	if err != nil {
		return 0, err
	}
	defer m.Close()
	p, err := m.NewProgram(&rewrite.Program{
		Insns: prog, Subprogs: subs, Source: &verifier.Program{Name: "bare", Type: catalog.ProgXDP, Insns: prog},
	}, nil)
	if err != nil {
		return 0, err
	}
	defer p.Close()
	block, err := mem.AllocGuarded(max(len(memory), 1))
	if err != nil {
		return 0, err
	}
	defer block.Free()
	copy(block.Bytes(), memory)
	c := m.AcquireCPU(0)
	defer c.Release()
	r0, err := c.Run(p, block.Addr(), nil)
	if v := (*interp.Violation)(nil); errors.As(err, &v) { // no verifier's fault here: none was asked
		err = fmt.Errorf("insn %d: %v: r%d = %#x: %s", v.Slot-1, v.Ins, v.Reg, v.Value, v.Claim)
	}
	return r0, err
}

// functions finds where the functions of a bare program begin, and makes sure
// that it keeps to its instructions.
func functions(prog []isa.Instruction) ([]verifier.Subprog, error) {
	second := make([]bool, len(prog)) // slots of 64-bit loads
	for pc := 0; pc < len(prog); pc++ {
		if prog[pc].IsLoadImm64() && pc+1 < len(prog) {
			pc++
			second[pc] = true
		}
	}
	starts := []int{0}
	for pc, ins := range prog {
		if second[pc] {
			continue
		}
		fail := func(format string, args ...any) ([]verifier.Subprog, error) {
			return nil, fmt.Errorf("insn %d: %w", pc-1, fmt.Errorf(format, args...)) // one stands before the program's own
		}
		if err := isa.Check(ins); err != nil {
			return fail("%w", err)
		}
		to := max(pc, 1)
		switch class := ins.Op.Class(); {
		case ins.IsHelperCall() && catalog.HelperByID(catalog.HelperID(ins.Imm)) == nil:
			return fail("there is no helper %d", ins.Imm)
		case ins.IsLocalCall():
			to = pc + 1 + int(ins.Imm)
			starts = append(starts, to)
		case class.IsJump() && !ins.IsExit() && ins.Op.JumpOp() != isa.Call:
			to = pc + 1 + ins.JumpOffset()
		}
		if to < 1 || to >= len(prog) || second[to] {
			return fail("goes to %d, where no instruction begins", to-1)
		}
	}
	switch last := prog[len(prog)-1]; {
	case second[len(prog)-1], !last.IsExit() && !(last.Op.Class().IsJump() && last.Op.JumpOp() == isa.Ja):
		return nil, errors.New("the last instruction is neither an exit nor a jump")
	}
	slices.Sort(starts)
	starts = slices.Compact(starts)
	var subs []verifier.Subprog
	for i, at := range starts {
		end := len(prog)
		if i+1 < len(starts) {
			end = starts[i+1]
		}
		subs = append(subs, verifier.Subprog{Start: at, End: end, StackDepth: isa.StackSize})
	}
	return subs, nil
}

func nativeAvailable() error {
	m, err := run.New(run.Options{CPUs: 1, JIT: run.JITOn})
	if err == nil {
		m.Close()
	}
	return err
}

// Maps of a wrapped program, in the order of fd_array: its memory, its R0.
const (
	memoryIdx = iota
	resultIdx
)

// wrapped makes a program that a verifier can judge: its memory is a map's
// value, and all 64 bits of its R0 go into another's.
//
//	r1 = memory; r2 = length
//	call program
//	*result = r0
//	r0 = 0; exit
//	program: …
func wrapped(prog []isa.Instruction, length int) []isa.Instruction {
	memory := isa.Program(isa.Mov64Imm(isa.R1, 0))
	if length > 0 {
		memory = isa.LdMapIdxValue(isa.R1, memoryIdx, 0)
	}
	return isa.Program(
		isa.Instructions(memory), isa.Mov64Imm(isa.R2, int32(length)),
		isa.LocalCall(5),
		isa.Instructions(isa.LdMapIdxValue(isa.R1, resultIdx, 0)), isa.StoreMem(isa.DW, isa.R1, isa.R0, 0),
		isa.Mov64Imm(isa.R0, 0), isa.ExitInsn(),
		isa.Instructions(prog))
}

func mapDefs(length int) []catalog.MapDef {
	return []catalog.MapDef{
		memoryIdx: {Name: "memory", Type: catalog.MapArray, KeySize: 4, ValueSize: uint32(max(length, 1)), MaxEntries: 1},
		resultIdx: {Name: "result", Type: catalog.MapArray, KeySize: 4, ValueSize: 8, MaxEntries: 1},
	}
}

// compiled verifies a program and runs it as native code.
func compiled(prog []isa.Instruction, memory []byte, blind bool) (uint64, error) {
	m, err := run.New(run.Options{CPUs: 1, JIT: run.JITOn, Budget: budget})
	if err != nil {
		return 0, err
	}
	defer m.Close()
	var used []maps.Map
	for _, def := range mapDefs(len(memory)) {
		mp, err := m.NewMap(def)
		if err != nil {
			return 0, err
		}
		defer m.CloseMap(mp)
		used = append(used, mp)
	}
	if len(memory) > 0 {
		if err := used[memoryIdx].Update(make([]byte, 4), memory, 0); err != nil {
			return 0, err
		}
	}
	vp := &verifier.Program{
		Name: "bare", Type: catalog.ProgXDP, Insns: wrapped(prog, len(memory)), GPL: true,
		MapByFD: func(int32) *catalog.MapDef { return nil },
		MapByIdx: func(i int32) *catalog.MapDef {
			if i < 0 || int(i) >= len(used) {
				return nil
			}
			return used[i].Def()
		},
	}
	facts, err := verifier.Verify(vp, verifier.Options{})
	if err != nil {
		return 0, fmt.Errorf("%w: %w", errRefused, err)
	}
	o := rewrite.Options{Inline: true}
	if blind {
		o.Blind = m.Secret
	}
	rw, err := o.Rewrite(vp, facts)
	if err != nil {
		return 0, err
	}
	p, err := m.NewProgram(rw, used)
	if err != nil {
		return 0, err
	}
	defer p.Close()
	c := m.AcquireCPU(0)
	defer c.Release()
	if err := c.Packet().SetXDP(make([]byte, 64), packet.XDPOptions{}); err != nil {
		return 0, err
	}
	if _, err := c.Run(p, c.Packet().Addr(), c.Packet()); err != nil {
		return 0, err
	}
	return result(used[resultIdx])
}

// inKernel has the kernel verify and run a program.
func inKernel(prog []isa.Instruction, memory []byte) (uint64, error) {
	var used []*linux.Map
	for _, def := range mapDefs(len(memory)) {
		m, err := linux.NewMap(&def, nil)
		if err != nil {
			return 0, err
		}
		defer m.Close()
		used = append(used, m)
	}
	if len(memory) > 0 {
		if err := used[memoryIdx].Update(make([]byte, 4), memory, 0); err != nil {
			return 0, err
		}
	}
	p, err := linux.Load(&linux.Prog{
		Name: "bare", Type: catalog.ProgXDP, Insns: wrapped(prog, len(memory)), License: "GPL", Maps: used,
	})
	if e := (*linux.Error)(nil); errors.As(err, &e) && e.Log != "" {
		return 0, fmt.Errorf("%w: %w", errRefused, err)
	}
	if err != nil {
		return 0, err
	}
	defer p.Close()
	if _, err := p.TestRun(&linux.Run{Data: make([]byte, 64)}); err != nil {
		return 0, err
	}
	return result(used[resultIdx])
}

// result reads what the wrapped program left of R0.
func result(m interface {
	Lookup(key, value []byte, flags uint64) error
}) (uint64, error) {
	value := make([]byte, 8)
	err := m.Lookup(make([]byte, 4), value, 0)
	return binary.LittleEndian.Uint64(value), err
}
