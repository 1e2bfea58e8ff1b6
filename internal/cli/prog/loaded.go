package prog

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"slices"
	"strings"

	"github.com/skep-bpf/skep"
	"github.com/skep-bpf/skep/internal/cli/objects"
	"github.com/skep-bpf/skep/internal/cli/ui"
	"github.com/skep-bpf/skep/internal/linux"
	"github.com/skep-bpf/skep/internal/rawbtf"
	"github.com/skep-bpf/skep/isa"
)

// dumpLoaded shows programs of a running system.
func dumpLoaded(v *objects.Verb, o *dumpOptions) error {
	list, err := v.Progs()
	if err != nil {
		return err
	}
	several := len(list) > 1
	if several && (o.File != "" || o.Visual) {
		return fmt.Errorf("several programs have it: file and visual are for one, by its id")
	}
	if v.J != nil && several {
		v.J.Array()
		defer v.J.EndArray()
	}
	for i, p := range list {
		if err := dumpOne(v, o, p, several); err != nil {
			return err
		}
		if v.J == nil && i+1 < len(list) {
			v.Printf("\n")
		}
		p.Close()
	}
	return nil
}

func dumpOne(v *objects.Verb, o *dumpOptions, p *linux.Object, several bool) error {
	info, err := p.Prog()
	if err != nil {
		return err
	}
	if several {
		if v.J != nil {
			v.J.Object()
			defer v.J.EndObject()
		}
		header(v, info)
		if v.J != nil {
			v.J.Name("insns")
		}
	}
	d := &dumper{o: o, out: v.Out, code: &skep.Translated{}, lines: map[int]skep.LineInfo{}}
	if err := d.describe(v, p, info); err != nil {
		return err
	}
	part, err := d.dump()
	switch {
	case err != nil || v.J == nil:
		return err
	case o.File != "":
		v.J.Null()
		return nil
	}
	return v.J.Value(part)
}

// describe fills in what a running system tells of a program.
func (d *dumper) describe(v *objects.Verb, p *linux.Object, info *linux.ProgInfo) error {
	switch {
	case d.o.Jited && info.JitedLen == 0:
		return fmt.Errorf("program %d is interpreted: there is no native code", info.ID)
	case !d.o.Jited && info.Xlated == nil:
		return fmt.Errorf("program %d: the kernel hides its instructions (kernel.kptr_restrict, net.core.bpf_jit_harden)", info.ID)
	}
	insns, err := isa.Decode(info.Xlated, binary.NativeEndian)
	if err != nil {
		return err
	}
	d.code.Insns = insns
	syms := &symbols{live: v.Live}
	d.functions(v, info, syms)
	d.sourceLines(v, info)
	d.names = isa.Names{Helper: syms.helper, Imm64: imm64}
	d.called = func(ins isa.Instruction, f *skep.Func) string { return syms.called(info, ins, f) }
	if !d.o.Jited {
		return nil
	}
	return d.machineCode(p, info, syms)
}

// distance is how far a call of a function goes. Where there is native code the
// kernel keeps it in the offset, and in the immediate which function it is.
func distance(ins isa.Instruction) int {
	if ins.Off != 0 {
		return int(ins.Off)
	}
	return int(ins.Imm)
}

// functions finds where functions begin: where the program's types say so and where calls go.
func (d *dumper) functions(v *objects.Verb, info *linux.ProgInfo, syms *symbols) {
	starts := []int{0}
	typed := map[int]int{} // number of the record, by slot
	if size := int(info.FuncInfoSize); size >= 8 {
		for i := 0; (i+1)*size <= len(info.FuncInfo); i++ {
			slot := int(binary.NativeEndian.Uint32(info.FuncInfo[i*size:]))
			typed[slot] = i
			starts = append(starts, slot)
		}
	}
	for slot, ins := range d.code.Insns {
		if !ins.IsLocalCall() {
			continue
		}
		starts = append(starts, slot+1+distance(ins))
	}
	slices.Sort(starts)
	starts = slices.DeleteFunc(slices.Compact(starts), func(at int) bool { return at < 0 || at >= max(len(d.code.Insns), 1) })
	for i, at := range starts {
		f := skep.Func{Start: at, End: len(d.code.Insns)}
		if i+1 < len(starts) {
			f.End = starts[i+1]
		}
		text := ""
		if n, ok := typed[at]; ok {
			f.Name = v.Func(info, n)
			if b, id := v.FuncType(info, n); b != nil {
				text = objects.Signature(b, id)
			}
		}
		f.Symbol = syms.function(info, i, f.Name)
		d.code.Funcs = append(d.code.Funcs, f)
		d.protos = append(d.protos, text)
	}
}

// sourceLines reads the records of line_info.
func (d *dumper) sourceLines(v *objects.Verb, info *linux.ProgInfo) {
	size := int(info.LineInfoSize)
	if size < 16 || info.BTFID == 0 {
		return
	}
	b, err := v.Types(info.BTFID)
	if err != nil {
		return // a dump without source is a dump
	}
	for rec := info.LineInfo; len(rec) >= size; rec = rec[size:] {
		word := func(i int) uint32 { return binary.NativeEndian.Uint32(rec[4*i:]) }
		d.lines[int(word(0))] = lineOf(b, word(1), word(2), word(3))
	}
}

// lineOf is a line of source: its file, its text, its number above its column.
func lineOf(b *rawbtf.BTF, file, line, place uint32) skep.LineInfo {
	return skep.LineInfo{File: b.Str(file), Line: b.Str(line), LineNo: int(place >> 10), Column: int(place & 0x3ff)}
}

// machineCode asks for native code.
func (d *dumper) machineCode(p *linux.Object, info *linux.ProgInfo, syms *symbols) error {
	n, err := p.Native()
	if err != nil {
		return err
	}
	if n == nil {
		return fmt.Errorf("program %d: the kernel hides its native code (kernel.kptr_restrict)", info.ID)
	}
	d.native = &nativeCode{arch: runtime.GOARCH, text: n.Code}
	old := d.code.Funcs
	d.code.Funcs = nil
	protos := d.protos
	d.protos = nil
	off := 0
	for i, size := range n.Lens {
		f := skep.Func{Off: off, Len: min(int(size), len(n.Code)-off)}
		text := ""
		if i < len(old) {
			f.Name, f.Start, f.End, text = old[i].Name, old[i].Start, old[i].End, protos[i]
		}
		f.Symbol = "unknown"
		var at uint64
		if i < len(n.Symbols) {
			at = n.Symbols[i]
			f.Symbol = syms.native(info, i, f.Name, at)
		}
		d.native.slots = append(d.native.slots, slotsOf(info, n, at, size))
		d.code.Funcs = append(d.code.Funcs, f)
		d.protos = append(d.protos, text)
		off += f.Len
	}
	return nil
}

// slotsOf are the slots of lines by the offset of their code in the function at an address.
func slotsOf(info *linux.ProgInfo, n *linux.Native, at uint64, size uint32) map[int]int {
	slots := map[int]int{}
	for i, addr := range n.Lines {
		from := i * int(info.LineInfoSize)
		if addr < at || addr-at >= uint64(size) || from+4 > len(info.LineInfo) {
			continue
		}
		if off := int(addr - at); slots[off] == 0 {
			slots[off] = int(binary.NativeEndian.Uint32(info.LineInfo[from:]))
		}
	}
	return slots
}

// imm64 is what a 64-bit load loads, maps by their ids.
func imm64(ins isa.Instruction, imm uint64) string {
	switch ins.Src {
	case isa.PseudoMapFD:
		return fmt.Sprintf("map[id:%d]", uint32(ins.Imm))
	case isa.PseudoMapValue:
		return fmt.Sprintf("map[id:%d][0]+%d", uint32(ins.Imm), uint32(imm>>32))
	case isa.PseudoMapIdxValue:
		return fmt.Sprintf("map[idx:%d]+%d", uint32(ins.Imm), uint32(imm>>32))
	case isa.PseudoFunc:
		return fmt.Sprintf("subprog[%+d]", ins.Imm)
	}
	return "0x" + fmt.Sprintf("%x", imm)
}

// symbols names addresses: the kernel's by its own list; in a machine helpers are
// called by their numbers, and functions are named as the kernel would.
type symbols struct {
	live bool
	list map[uint64]string
	base uint64 // what calls of helpers are relative to
}

func (s *symbols) load() {
	if s.list == nil {
		s.list, s.base = linux.Symbols("__bpf_call_base")
	}
}

func (s *symbols) helper(imm int32) string {
	if name := helperName(imm); name != "" || !s.live { // a call that is carried out inline keeps its number
		return name
	}
	s.load()
	return s.at(s.base + uint64(int64(imm)))
}

func (s *symbols) at(addr uint64) string {
	if name := s.list[addr]; name != "" {
		return name
	}
	return "0x" + fmt.Sprintf("%x", addr)
}

// function is the symbol of a program's function.
func (s *symbols) function(info *linux.ProgInfo, n int, name string) string {
	if name == "" && n == 0 {
		name = info.Name
	}
	return strings.TrimSuffix(fmt.Sprintf("bpf_prog_%x_%s", info.Tag, name), "_")
}

// native is the symbol of a function's native code.
func (s *symbols) native(info *linux.ProgInfo, n int, name string, addr uint64) string {
	if !s.live {
		return s.function(info, n, name)
	}
	s.load()
	if name := s.list[addr]; name != "" {
		return name
	}
	return fmt.Sprintf("0x%016x", addr)
}

// called is what stands behind a call's distance: which function is called.
func (s *symbols) called(info *linux.ProgInfo, ins isa.Instruction, f *skep.Func) string {
	if info.JitedLen == 0 {
		return "" // interpreted: it has no address
	}
	if !s.live {
		if f == nil {
			return ""
		}
		return "#" + ui.Printable(f.Symbol)
	}
	s.load()
	if i := int(ins.Imm); i >= 0 && i < len(info.Symbols) {
		return "#" + s.at(info.Symbols[i])
	}
	return ""
}
