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

// TagOf hashes instructions as libbpf loads them: maps are named by descriptors.
func TagOf(prog []Instruction) Tag {
	prog = slices.Clone(prog)
	for pc := range prog {
		switch ins := &prog[pc]; {
		case !ins.IsLoadImm64():
		case ins.Src == PseudoMapIdx:
			ins.Src = PseudoMapFD
		case ins.Src == PseudoMapIdxValue:
			ins.Src = PseudoMapValue
		}
	}
	sum := Digest(prog)
	return Tag(sum[:8])
}

// Digest hashes instructions as they are loaded, but for the descriptors of maps, by which
// the kernel knows programs (bpf_prog_calc_tag, of Linux 6.18).
func Digest(prog []Instruction) [sha256.Size]byte {
	prog = slices.Clone(prog)
	for pc := 0; pc+1 < len(prog); pc++ {
		ins := &prog[pc]
		if !ins.IsLoadImm64() {
			continue
		}
		if ins.Src == PseudoMapFD || ins.Src == PseudoMapValue {
			ins.Imm, prog[pc+1].Imm = 0, 0
		}
		pc++
	}
	return sha256.Sum256(Encode(prog, binary.LittleEndian))
}
