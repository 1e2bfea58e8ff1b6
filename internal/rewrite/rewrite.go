// Package rewrite turns a verified program into the one engines run: BPF in,
// BPF out, by the passes listed in passes, in order (the kernel's
// convert_ctx_accesses, do_misc_fixups and their kin).
//
// Passes work on a list of instructions whose jumps name places, not offsets
// (code.go), so that a pass may insert and remove at will; offsets are made
// again at the end. What remains for an engine is in no way different from
// what the uapi defines, but that context loads reach packet.Frame, that
// pointers are addresses, that [isa.AX] is in use as a scratch register, and
// that some loads are of the probing modes.
//
// Left to engines, as BPF cannot say it better: division by zero (quotient 0,
// remainder the dividend), the CPU number, local calls and callbacks (by
// relative slot, as in the uapi), tail calls, kfunc calls (by BTF id), and
// legacy packet loads where they are not inlined.
package rewrite

import (
	"github.com/skep-bpf/skep/internal/verifier"
	"github.com/skep-bpf/skep/isa"
)

// Program is a program ready to be interpreted or compiled.
type Program struct {
	Insns []isa.Instruction
	// Orig maps every slot to the slot of the verified program it was made from.
	// What was inserted at the start of a function belongs to its first instruction.
	Orig []int32
	// First marks the first slot of each original instruction's expansion: where
	// jumps arrive, and where the verifier's claims hold.
	First    []bool
	Subprogs []verifier.Subprog // Start and End in rewritten slots
	// Source is the verified program and Facts what is known of it.
	Source *verifier.Program
	Facts  *verifier.Result
	// Guarded: what engines inline is to be guarded against speculation too.
	Guarded bool
}

// Options choose among ways to say the same.
type Options struct {
	// Inline writes array lookups and the fast path of legacy packet loads as
	// BPF, instead of leaving them to the engine.
	Inline bool
	// Guard puts in the barriers and masks against speculation that the verifier asks for.
	Guard bool
	// Doubt leaves jumps that the verifier decided to the run, and a trap for each
	// instruction that it never reached, so that checked runs show whether it was right.
	Doubt bool
	// Blind draws the numbers that hide the program's constants; nil: they stay as they are.
	Blind func() uint32
}

// pass is one step over the whole program.
type pass struct {
	name string
	when func(o *Options) bool // nil: always
	run  func(c *code)
}

// passes are carried out in this order: dead code first, so that no other pass
// spends work on it; may_goto before anything else can move a function's
// start; lookups and legacy loads after the loads they consist of were
// resolved, since what they insert is final; constants are blinded last, when
// no other pass brings any more.
var passes = []pass{
	{name: "dead", run: removeDead},
	{name: "nops", run: removeNops},
	{name: "may_goto", run: expandMayGoto},
	{name: "guard", run: guardSpeculation, when: guards},
	{name: "imm64", run: resolveImmediates},
	{name: "ctx", run: convertContext},
	{name: "arena", run: convertArena},
	{name: "probe", run: probeLoads},
	{name: "lookup", run: inlineLookup, when: inlines},
	{name: "legacy", run: inlineLegacy, when: inlines},
	{name: "blind", run: blindConstants, when: blinds},
}

func inlines(o *Options) bool { return o.Inline }
func guards(o *Options) bool  { return o.Guard }
func blinds(o *Options) bool  { return o.Blind != nil }

// Rewrite makes a program that the verifier accepted ready for the engines.
// It fails only where the program names something that does not exist in user
// space, or where insertions put a conditional jump's target out of its reach.
func Rewrite(p *verifier.Program, facts *verifier.Result) (*Program, error) {
	return Options{}.Rewrite(p, facts)
}

// Rewrite is [Rewrite] with options.
func (o Options) Rewrite(p *verifier.Program, facts *verifier.Result) (*Program, error) {
	c := newCode(p, facts)
	c.blind, c.guard, c.doubt = o.Blind, o.Guard, o.Doubt
	for _, ps := range passes {
		if ps.when != nil && !ps.when(&o) {
			continue
		}
		ps.run(c)
		if c.err != nil {
			return nil, c.err
		}
	}
	out, err := c.layout()
	if err == nil {
		out.Guarded = o.Guard
	}
	return out, err
}
