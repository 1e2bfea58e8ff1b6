package isa

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
)

// Tag is the kernel's fingerprint of a program's instructions, whatever maps they
// work on. It is that of Linux 6.18 and later; those before hashed otherwise.
type Tag [8]byte

// String returns the tag as bpftool prints it.
func (t Tag) String() string { return fmt.Sprintf("%x", t[:]) }

// TagOf hashes instructions as libbpf loads them, without the descriptors of maps
// (bpf_prog_calc_tag).
func TagOf(prog []Instruction) Tag {
	prog = slices.Clone(prog)
	for pc := range prog {
		ins := &prog[pc]
		if !ins.IsLoadImm64() || pc+1 == len(prog) {
			continue
		}
		switch ins.Src {
		case PseudoMapIdx:
			ins.Src = PseudoMapFD
		case PseudoMapIdxValue:
			ins.Src = PseudoMapValue
		}
		if ins.Src == PseudoMapFD || ins.Src == PseudoMapValue {
			ins.Imm, prog[pc+1].Imm = 0, 0
		}
	}
	sum := sha256.Sum256(Encode(prog, binary.LittleEndian))
	return Tag(sum[:8])
}
