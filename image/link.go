package image

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep/isa"
)

// Limits of linked programs, in slots. The kernel refuses what is longer than
// maxProgram (BPF_COMPLEXITY_LIMIT_INSNS); maxImage bounds all programs of an
// object together.
const (
	maxProgram = 1_000_000
	maxImage   = 16_000_000
)

// Immediates of instructions that must never be reached, as libbpf writes them,
// so that the verifier's words about them are the ones people search for.
const (
	poisonKfunc = 2002000000 // call of a weak kfunc the kernel lacks; + index of the extern
	poisonCORE  = 0xbad2310  // failed CO-RE relocation
)

// linker makes programs of functions.
type linker struct {
	obj     *object
	types   *objectTypes // nil without BTF
	code    *code
	maps    *mapTable
	externs *externTable
	relocs  map[*section]map[int]elfReloc // by slot
	linked  int                           // slots of all programs so far
}

// program is one program being linked.
type program struct {
	*Program
	at map[*function]int // where each function lies in Insns
}

// link appends to p every function that entry reaches. On an error p keeps
// what was linked and the error is in p.Err.
//
// Functions follow in the order libbpf gives them (bpf_object__reloc_code):
// each function's calls are looked at from its first slot to its last, and a
// callee seen for the first time is appended and looked at in turn before the
// next call.
//
//	main ──▶ a ──▶ b        ┌──────┬───┬───┬───┐
//	     └─▶ c ──▶ b        │ main │ a │ b │ c │
//	                        └──────┴───┴───┴───┘
func (l *linker) link(p *Program, entry *function) {
	lp := &program{Program: p, at: map[*function]int{}}
	err := l.add(lp, entry)
	if err == nil {
		err = l.addExceptionCallback(lp)
	}
	if err != nil {
		p.Err = err
	}
}

// add appends f and what it calls.
func (l *linker) add(p *program, f *function) error {
	if f.err != nil {
		return f.err
	}
	base := len(p.Insns)
	if base+len(f.insns) > maxProgram || l.linked+len(f.insns) > maxImage {
		return at(p.Section, p.Name, ErrTooLarge, "more than %d instructions", maxProgram)
	}
	l.linked += len(f.insns)
	p.at[f] = base
	p.Insns = append(p.Insns, f.insns...)
	if err := l.addInfo(p, f); err != nil {
		return err
	}
	for i := 0; i < len(f.insns); i++ {
		if err := l.fixInsn(p, f, i); err != nil {
			return err
		}
		if f.insns[i].IsLoadImm64() {
			i++
		}
	}
	return nil
}

// fixInsn resolves what slot i of f refers to, appending a callee that p does not have yet.
func (l *linker) fixInsn(p *program, f *function, i int) error {
	ins := f.insns[i]
	fail := func(err error) error {
		return &Error{Section: f.sec.Name, Symbol: f.name, Slot: i, Err: err}
	}
	rel, relocated := l.relocs[f.sec][f.start+i]
	if !relocated && !ins.IsLocalCall() {
		return nil
	}
	if ins.IsLoadImm64() && i+1 >= len(f.insns) {
		return fail(fmt.Errorf("%w: second half of 64-bit load is missing", ErrBadProgram))
	}
	// Calls inside a section carry no relocation: Imm is already relative.
	to := ref{kind: refFunc, sec: f.sec, slot: f.start + i + int(ins.Imm) + 1}
	if relocated {
		var err error
		if to, err = l.resolve(rel, ins); err != nil {
			return fail(err)
		}
	}
	pos := p.at[f] + i
	switch to.kind {
	case refFunc:
		callee := l.code.at(to.sec, to.slot)
		if callee == nil {
			return fail(fmt.Errorf("%w: no function at slot %d of section %s", ErrBadReloc, to.slot, to.sec.Name))
		}
		if _, ok := p.at[callee]; !ok {
			if err := l.add(p, callee); err != nil {
				return err
			}
		}
		p.Insns[pos].Imm = int32(p.at[callee] - pos - 1)
		if ins.IsLoadImm64() {
			p.Insns[pos].Src = isa.PseudoFunc
		}
	case refMap:
		p.Insns[pos].Src = isa.PseudoMapIdx
		p.Insns[pos].Imm = int32(to.m)
	case refValue:
		l.setValue(p, pos, to.m, to.off)
	case refExtern:
		if err := l.fixExtern(p, pos, to.ext); err != nil {
			return fail(err)
		}
	}
	return nil
}

// setValue makes the 64-bit load at pos the address of byte off of map m's value.
func (l *linker) setValue(p *program, pos, m int, off uint32) {
	p.Insns[pos].Src = isa.PseudoMapIdxValue
	p.Insns[pos].Imm = int32(m)
	p.Insns[pos+1].Imm = int32(off)
}

// fixExtern resolves a call or 64-bit load of an extern (libbpf: bpf_object__relocate_data).
func (l *linker) fixExtern(p *program, pos, idx int) error {
	ext := l.externs.list[idx]
	if !ext.Resolved && !ext.Weak {
		if ext.raw.err != nil {
			return ext.raw.err
		}
		return fmt.Errorf("%w: %s %q", ErrUnresolved, ext.Kind, ext.Name)
	}
	ins, load := &p.Insns[pos], p.Insns[pos].IsLoadImm64()
	switch {
	case ext.Kind == ExternKconfig && load:
		l.setValue(p, pos, l.maps.kconfig, ext.Off)
	case load && ext.Resolved && ext.Kind != ExternSym:
		ins.Src, ins.Imm = isa.PseudoBTFID, int32(ext.ID)
		p.Insns[pos+1].Imm = 0 // vmlinux
	case load:
		ins.Imm = int32(ext.Addr)
		p.Insns[pos+1].Imm = int32(ext.Addr >> 32)
	case ext.Kind != ExternFunc:
		return fmt.Errorf("%w: call of %s %q", ErrBadReloc, ext.Kind, ext.Name)
	case ext.Resolved:
		ins.Src, ins.Imm, ins.Off = isa.CallKfunc, int32(ext.ID), 0
	default:
		*ins = isa.Instruction{Op: isa.Opcode(isa.ClassJMP) | isa.Call, Imm: int32(poisonKfunc + idx)}
	}
	return nil
}

// addInfo moves f's function and line records to where f lies in p. Like
// libbpf it does without when the entry function has none, and insists on a
// record for every function when it has.
func (l *linker) addInfo(p *program, f *function) error {
	if l.types == nil || l.types.ext == nil {
		return nil
	}
	base := p.at[f]
	shift := base - f.start
	if base == 0 || p.Funcs != nil {
		n := len(p.Funcs)
		for _, r := range within(l.types.ext.funcs[f.sec.Name], f, func(r funcRec) int { return r.slot }) {
			fn, ok := l.types.typeByID(r.id).(*btf.Func)
			if !ok {
				return at(secBTFExt, f.name, ErrBadBTF, "function info names type %d, which is no function", r.id)
			}
			p.Funcs = append(p.Funcs, FuncInfo{Slot: r.slot + shift, Func: fn, ID: btf.TypeID(r.id)})
		}
		if n > 0 && len(p.Funcs) == n {
			return at(secBTFExt, f.name, ErrBadBTF, "no function info")
		}
	}
	if base == 0 || p.Lines != nil {
		n := len(p.Lines)
		for _, r := range within(l.types.ext.lines[f.sec.Name], f, func(r lineRec) int { return r.slot }) {
			p.Lines = append(p.Lines, LineInfo{
				Slot: r.slot + shift, File: l.types.str(r.fileOff), Line: l.types.str(r.lineOff),
				LineNo: int(r.pos >> 10), Column: int(r.pos & 0x3ff),
				FileOff: r.fileOff, LineOff: r.lineOff,
			})
		}
		if n > 0 && len(p.Lines) == n {
			return at(secBTFExt, f.name, ErrBadBTF, "no line info")
		}
	}
	return nil
}

// within returns the records, which rise by slot, that lie in f.
func within[R any](recs []R, f *function, slot func(R) int) []R {
	bound := func(s int) int {
		i, _ := slices.BinarySearchFunc(recs, s, func(r R, s int) int { return cmp.Compare(slot(r), s) })
		return i
	}
	lo, hi := bound(f.start), bound(f.end())
	return recs[lo:max(lo, hi)]
}

// exceptionTag is the declaration tag by which a program names the function
// that runs when it calls bpf_throw (__exception_cb).
const exceptionTag = "exception_callback:"

// addExceptionCallback appends the callback that p's entry function names,
// which nothing calls (libbpf: bpf_prog_assign_exc_cb).
func (l *linker) addExceptionCallback(p *program) error {
	if len(p.Funcs) == 0 {
		return nil
	}
	var names []string
	for _, tag := range p.Funcs[0].Func.Tags {
		if name, ok := strings.CutPrefix(tag, exceptionTag); ok {
			names = append(names, name)
		}
	}
	if len(names) != 1 { // the verifier has its own words for several
		return nil
	}
	for _, f := range l.code.funcs {
		if f.name != names[0] || f.entry {
			continue
		}
		if !f.global {
			return at(p.Section, p.Name, ErrBadProgram, "exception callback %s must be global and not hidden", f.name)
		}
		if _, ok := p.at[f]; ok {
			return nil
		}
		return l.add(p, f)
	}
	return at(p.Section, p.Name, ErrBadProgram, "exception callback %q not found", names[0])
}
