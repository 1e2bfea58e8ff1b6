// Package jit is the native engine: it has rewritten programs compiled, and
// runs them on a vCPU. The interpreter is its judge; [VM] offers the same
// methods and takes the same services.
//
// A [VM] enters native code and serves it whenever it leaves:
//
//	enter ─► native code ─► leaves at a site ─► what the site asks for, in Go
//	  ▲                                            │
//	  └────────────── result, resume address ──────┘
//
// A helper that calls back enters native code again, deeper on the same stack.
package jit

import (
	"fmt"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/jit/code"
	"github.com/skep-bpf/skep/internal/jit/exec"
	"github.com/skep-bpf/skep/internal/rewrite"
	"github.com/skep-bpf/skep/isa"

	"github.com/cilium/ebpf/btf"
)

// Program is a compiled program.
type Program struct {
	*rewrite.Program
	// Owner is whatever whoever had the program compiled wants to find in it again.
	Owner any
	// Object is the code, as it was before it was put into place.
	Object *code.Object

	text  *exec.Text
	base  uint64
	main  uint64 // where runs begin
	fuel  int64  // what they begin with
	jumps bool   // they may go on in other programs, by tail calls
	// redirects: they may leave word in the context where a packet goes.
	redirects bool
	// length is about how many instructions a run takes between polls, and turns
	// how many runs may come one after the other without one.
	length, turns  int
	number, target uint64 // see enlist
	listed         bool   // it can be called by tail
	heavy          []code.Heavy
	sites          []code.Site
	// functions are the indices of functions by their first slot, which is their
	// callbacks' token.
	functions map[uint64]int
}

// Options of a compilation.
type Options struct {
	// Budgeted: runs will have a budget, so that even a short program must keep count.
	Budgeted bool
	// Layout tells how a map lies in memory, see [code.Options].
	Layout func(m *catalog.MapDef) (l code.Layout, ok bool)
	// Clock, Retpolines and SharedRings: see [code.Options].
	Clock       *code.Clock
	Retpolines  bool
	SharedRings bool
	// Seal puts the code into memory of its own that can never be written again.
	Seal bool
	// Anonymous puts it into memory of its own behind which there is no file.
	Anonymous bool
}

// Available says why there is no native engine here; nil if there is one.
func Available() error { return exec.Available() }

// Compile makes native code of a program. An error is a fault of the stage
// before, or executable memory has run out.
func Compile(p *rewrite.Program, o Options) (*Program, error) {
	heavy := code.FindHeavy(p)
	straight := brief(p)
	obj, err := compile(p, code.Options{
		Features: exec.Host(), Poll: o.Budgeted || !straight, Layout: o.Layout, Clock: o.Clock,
		Guard: p.Guarded, Retpolines: o.Retpolines, SharedRings: o.SharedRings,
	})
	if err != nil {
		return nil, fmt.Errorf("jit: %w", err)
	}
	install := exec.Install
	switch {
	case o.Anonymous:
		install = exec.InstallAnonymous
	case o.Seal:
		install = exec.InstallSealed
	}
	text, err := install(obj.Text)
	if err != nil {
		return nil, fmt.Errorf("jit: %w", err)
	}
	out := &Program{Program: p, Object: obj, text: text, base: text.Addr(), sites: obj.Sites, heavy: heavy, functions: map[uint64]int{0: 0}}
	out.main = out.base + uint64(obj.Entries[0])
	if !o.Budgeted { // else the first poll takes from the budget
		out.fuel = pollSlots
	}
	if out.length = code.Cost(heavy, 0, len(p.Insns)); straight {
		out.length = code.RunCost(p, heavy, walked(p))
	}
	out.turns = max(briefLimit/out.length, 1)
	for _, ins := range p.Insns {
		out.jumps = out.jumps || ins.IsHelperCall() && ins.Imm == int32(catalog.FnTailCall)
		out.redirects = out.redirects || ins.IsHelperCall() && ins.Imm == int32(catalog.FnRedirectMap)
	}
	for i, s := range p.Subprogs {
		out.functions[uint64(s.Start)] = i
	}
	if err := out.enlist(); err != nil {
		text.Free()
		return nil, fmt.Errorf("jit: %w", err)
	}
	return out, nil
}

// Free gives the code's memory back. No run may be in it any more.
func (p *Program) Free() {
	p.delist()
	p.text.Free()
}

// Plain reports whether a [Shot] will do for its runs: it makes no tail calls and
// redirects no packets by itself.
func (p *Program) Plain() bool { return !p.jumps && !p.redirects }

// Addr is where the code lies.
func (p *Program) Addr() uint64 { return p.base }

// Function returns where the code of function i lies in the program's.
func (p *Program) Function(i int) (off, size int) {
	off, end := p.Object.Entries[i], len(p.Object.Text)
	for _, at := range p.Object.Entries {
		if at > off {
			end = min(end, at)
		}
	}
	return off, end - off
}

// entry returns the address of the function that a callback's token names.
func (p *Program) entry(token uint64) (addr uint64, length int, err error) {
	i, ok := p.functions[token]
	if !ok {
		return 0, 0, fmt.Errorf("jit: callback %#x: no subprogram there", token)
	}
	start, end := 0, len(p.Insns)
	if i < len(p.Subprogs) {
		start, end = p.Subprogs[i].Start, p.Subprogs[i].End
	}
	length = code.Cost(p.heavy, start, end)
	return p.base + uint64(p.Object.Entries[i]), length, nil
}

// briefLimit is how many instructions a run may take without a poll: some
// hundred microseconds, for which a garbage collection may have to wait.
const briefLimit = 1 << 17

// walked is how many instructions a run takes at most, if p is brief. Reading the clock, which needs no
// exit, takes as long as thirty others: where there may be one in every few, each counts eight times.
func walked(p *rewrite.Program) int {
	n := p.Facts.Stats.InsnProcessed
	for _, ins := range p.Insns {
		switch catalog.HelperID(ins.Imm) {
		case catalog.FnKtimeGetNs, catalog.FnKtimeGetBootNs:
			if ins.IsHelperCall() {
				return 8 * n
			}
		}
	}
	return n
}

// brief reports whether every run of p takes few instructions between two
// exits, so that it needs no polls.
//
// A verifier that merges paths only into states it is done with walks an
// acyclic graph, so no run can be longer than all it walked. The exceptions:
// iterators, may_goto and callbacks, where it looks for a fixed point instead,
// and global functions, which it walks once however often they are called.
func brief(p *rewrite.Program) bool {
	if p.Facts == nil || p.Source == nil {
		return false
	}
	if n := walked(p); n == 0 || code.RunCost(p, code.FindHeavy(p), n) > briefLimit {
		return false
	}
	for _, f := range p.Source.Funcs {
		if f.Slot != 0 && f.Func.Linkage == btf.GlobalFunc {
			return false
		}
	}
	for _, ins := range p.Source.Insns {
		mayGoto := ins.Op == isa.Opcode(isa.ClassJMP)|isa.Jcond
		if mayGoto || ins.IsKfuncCall() || ins.IsLoadImm64() && ins.Src == isa.PseudoFunc {
			return false
		}
	}
	return true
}
