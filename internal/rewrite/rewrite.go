// Package rewrite turns a verified program into the one engines run: BPF in,
// BPF out, by the passes listed in Passes, in order (the kernel's
// convert_ctx_accesses, do_misc_fixups and their kin).
package rewrite

import (
	"github.com/skep-bpf/skep/internal/verifier"
	"github.com/skep-bpf/skep/isa"
)

// Program is a program ready to be interpreted or compiled.
type Program struct {
	Insns []isa.Instruction
	// Orig maps every slot to the slot of the verified program it was made from.
	Orig []int32
	// First marks the first slot of each original instruction's expansion.
	First    []bool
	Subprogs []verifier.Subprog // Start and End in rewritten slots
	// Source is the verified program and Facts what is known of it.
	Source *verifier.Program
	Facts  *verifier.Result
}
