package image

import (
	"cmp"
	"debug/elf"
	"fmt"
	"slices"
	"sort"

	"github.com/skep-bpf/skep/isa"
)

// function is one function symbol: an entry point or a subprogram.
type function struct {
	name   string
	sec    *section
	start  int               // slot in its section
	insns  []isa.Instruction // CO-RE relocated, calls and references not yet resolved
	entry  bool              // an entry point: global and outside .text
	global bool              // seen as global by the verifier: not static, not hidden
	err    error             // why no program may contain it
}

// end is the slot after the function's last.
func (f *function) end() int { return f.start + len(f.insns) }

// code is the functions of an object.
type code struct {
	funcs []*function // by section index and slot
	slots map[*section][]isa.Instruction
}

// loadCode finds the functions: every function symbol of a section with
// instructions (libbpf: bpf_object__add_programs).
func (o *object) loadCode() (*code, error) {
	c := &code{slots: map[*section][]isa.Instruction{}}
	for _, s := range o.sections {
		if !s.isCode() {
			continue
		}
		data, err := o.content(s)
		if err != nil {
			return nil, err
		}
		whole := len(data) / isa.InsnSize * isa.InsnSize
		if c.slots[s], err = isa.Decode(data[:whole], o.order); err != nil {
			return nil, at(s.Name, "", ErrBadProgram, "%v", err)
		}
	}
	for i := range o.symbols {
		sym := &o.symbols[i]
		if sym.sec == nil || !sym.sec.isCode() || elf.ST_TYPE(sym.Info) != elf.STT_FUNC {
			continue
		}
		f, err := c.function(sym)
		if err != nil {
			return nil, err
		}
		c.funcs = append(c.funcs, f)
	}
	slices.SortStableFunc(c.funcs, func(a, b *function) int {
		return cmp.Or(cmp.Compare(a.sec.idx, b.sec.idx), cmp.Compare(a.start, b.start))
	})
	return c, nil
}

func (c *code) function(sym *symbol) (*function, error) {
	slots := c.slots[sym.sec]
	limit := uint64(len(slots) * isa.InsnSize)
	if sym.Size == 0 || sym.Size%isa.InsnSize != 0 || sym.Value%isa.InsnSize != 0 ||
		sym.Value > limit || sym.Size > limit-sym.Value {
		return nil, at(sym.sec.Name, sym.Name, ErrBadProgram, "%d bytes at %d of %d are not whole instructions of the section",
			sym.Size, sym.Value, sym.sec.Size)
	}
	start, n := int(sym.Value/isa.InsnSize), int(sym.Size/isa.InsnSize)
	local := elf.ST_BIND(sym.Info) == elf.STB_LOCAL
	return &function{
		name:   sym.Name,
		sec:    sym.sec,
		start:  start,
		insns:  slots[start : start+n : start+n],
		entry:  !local && sym.sec.Name != secText,
		global: !local && !sym.isHidden(),
	}, nil
}

// at returns the function that has the slot of a section, or nil. Unlike
// libbpf, which looks for subprograms in .text only, any section will do: other
// loaders let programs of one section call each other.
func (c *code) at(sec *section, slot int) *function {
	i := sort.Search(len(c.funcs), func(i int) bool {
		f := c.funcs[i]
		return f.sec.idx > sec.idx || f.sec.idx == sec.idx && f.start > slot
	}) - 1
	if i < 0 {
		return nil
	}
	if f := c.funcs[i]; f.sec == sec && slot >= f.start && slot < f.end() {
		return f
	}
	return nil
}

// entryNamed returns the entry point of that name, or nil.
func (c *code) entryNamed(name string) *function {
	for _, f := range c.funcs {
		if f.entry && f.name == name {
			return f
		}
	}
	return nil
}

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
			return ref{}, fmt.Errorf("%w: extern %q has no BTF", ErrBadReloc, sym.Name)
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
