package image

import (
	"fmt"
	"math"

	"github.com/skep-bpf/skep/isa"
)

// refKind is what a relocated instruction refers to.
type refKind uint8

const (
	refFunc   refKind = iota // a call or the address of a function
	refMap                   // a map
	refValue                 // an address inside a map's value
	refExtern                // a call or the address of an extern
)

// ref is a relocation resolved as far as possible before linking.
type ref struct {
	kind refKind
	sec  *section // of refFunc
	slot int      // of refFunc, in sec
	m    int      // index of the map
	off  uint32   // of refValue
	ext  int      // index of the extern
}

// resolve says what the relocation at an instruction means
// (libbpf: bpf_program__record_reloc). ELF's relocation type adds nothing to
// what the instruction says, as in libbpf.
func (l *linker) resolve(r elfReloc, ins isa.Instruction) (ref, error) {
	sym := &l.obj.symbols[r.Sym]
	isCall := ins.Op == isa.Opcode(isa.ClassJMP)|isa.Call
	if !isCall && !ins.IsLoadImm64() {
		return ref{}, fmt.Errorf("%w: against %q at opcode %#02x", ErrBadReloc, sym.label(), uint8(ins.Op))
	}
	if sym.isExtern() {
		ext, ok := l.externs.bySym[r.Sym]
		if !ok {
			return ref{}, fmt.Errorf("%w: extern %q has no BTF: compile with -g", ErrBadReloc, sym.Name)
		}
		return ref{kind: refExtern, ext: ext}, nil
	}
	if sym.sec == nil {
		return ref{}, fmt.Errorf("%w: %q is in no section (variable without initial value?)", ErrBadReloc, sym.label())
	}
	if isCall {
		if ins.Src != isa.CallLocal || !sym.sec.isCode() || sym.Value%isa.InsnSize != 0 {
			return ref{}, fmt.Errorf("%w: call of %q in section %s", ErrBadReloc, sym.label(), sym.sec.Name)
		}
		// A global function's symbol stands at its start and Imm is -1; a static
		// one's is the section's, and Imm counts slots from there.
		return ref{kind: refFunc, sec: sym.sec, slot: int(sym.Value/isa.InsnSize) + int(ins.Imm) + 1}, nil
	}
	off := int64(sym.Value) + int64(ins.Imm)
	if sym.sec.isCode() {
		if off%isa.InsnSize != 0 {
			return ref{}, fmt.Errorf("%w: address %d inside function %q", ErrBadReloc, off, sym.label())
		}
		return ref{kind: refFunc, sec: sym.sec, slot: int(off / isa.InsnSize)}, nil
	}
	if m, ok := l.maps.bySection[sym.sec]; ok {
		return ref{kind: refValue, m: m, off: uint32(off)}, nil
	}
	if m, ok := l.maps.byOffset[mapPlace{sym.sec, uint64(off)}]; ok {
		return ref{kind: refMap, m: m}, nil
	}
	return ref{}, fmt.Errorf("%w: no map or variable at %q+%d in section %s", ErrBadReloc, sym.label(), ins.Imm, sym.sec.Name)
}

// indexRelocs makes relocations of code findable by instruction.
func (l *linker) indexRelocs() {
	l.relocs = map[*section]map[int]elfReloc{}
	for _, s := range l.obj.sections {
		if !s.isCode() {
			continue
		}
		bySlot := make(map[int]elfReloc, len(s.relocs))
		for _, r := range s.relocs {
			if r.Off%8 == 0 && r.Off < math.MaxInt32 {
				bySlot[int(r.Off/8)] = r
			}
		}
		l.relocs[s] = bySlot
	}
}
