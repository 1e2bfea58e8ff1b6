package image

import (
	"cmp"
	"debug/elf"
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
