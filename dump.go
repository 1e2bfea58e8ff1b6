package skep

import (
	"runtime"

	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep/internal/verifier"
	"github.com/skep-bpf/skep/isa"
)

// LineInfo says which line of source the instructions from a slot on come from.
type LineInfo = verifier.LineInfo

// Tag is the kernel's fingerprint of a program's instructions, see [isa.TagOf].
type Tag = isa.Tag

// Tag returns the program's tag.
func (p *Program) Tag() Tag { return isa.TagOf(p.source.Insns) }

// Func is a function of a program.
type Func struct {
	// Name is that of the source, "" where nothing tells it.
	Name string
	// Symbol is its name in profiles and debuggers: bpf_prog_TAG_NAME, as in the kernel.
	Symbol string
	// Type is its type, or nil.
	Type *btf.Func
	// Start and End are its slots in [Translated.Insns], Off and Len its bytes in [Native.Text].
	Start, End int
	Off, Len   int
}

// Translated is a program as engines run it: after verification, with context
// accesses made loads, addresses in place and, for native code, lookups inlined.
type Translated struct {
	Insns []isa.Instruction
	// Orig maps slots to those of [Program.Instructions]; First marks the first of
	// what an instruction became.
	Orig  []int32
	First []bool
	Funcs []Func
}

// Translated returns the program as engines run it. Do not change it.
func (p *Program) Translated() *Translated {
	rw := p.p.Rewritten
	t := &Translated{Insns: rw.Insns, Orig: rw.Orig, First: rw.First}
	native := p.p.Native()
	for i, s := range rw.Subprogs {
		f := Func{Name: rw.FuncName(i), Symbol: rw.Symbol(i), Start: s.Start, End: s.End}
		for _, info := range p.source.Funcs {
			if i < len(p.result.Subprogs) && info.Slot == p.result.Subprogs[i].Start {
				f.Type = info.Func
			}
		}
		if native != nil {
			f.Off, f.Len = native.Function(i)
		}
		t.Funcs = append(t.Funcs, f)
	}
	return t
}

// Lines returns the source lines of [Program.Instructions], in order. Do not change them.
func (p *Program) Lines() []LineInfo { return p.source.Lines }

// Native is a program's machine code.
type Native struct {
	// Arch is the architecture, by Go's name.
	Arch string
	// Addr is where Text lies, while the program is loaded.
	Addr uint64
	Text []byte
	// Offsets are those in Text of the slots of [Translated.Insns].
	Offsets []int
}

// Native returns the program's machine code, or nil where it is interpreted.
func (p *Program) Native() *Native {
	n := p.p.Native()
	if n == nil {
		return nil
	}
	return &Native{Arch: runtime.GOARCH, Addr: n.Addr(), Text: n.Object.Text, Offsets: n.Object.Slots}
}

// MapAt returns the map whose kernel address, in skep that of its header, a
// translated program loads, and the offset of a byte of a value; ok is false for any other number.
func (p *Program) MapAt(addr uint64) (id uint32, value bool, off uint32, ok bool) {
	for _, m := range p.p.Maps() {
		def := m.Def()
		switch {
		case def.Ptr == addr:
			return def.ID, false, 0, true
		case def.ValueBase != 0 && addr >= def.ValueBase && addr-def.ValueBase < uint64(max(def.ValueSize, 1)):
			return def.ID, true, uint32(addr - def.ValueBase), true
		}
	}
	return 0, false, 0, false
}
