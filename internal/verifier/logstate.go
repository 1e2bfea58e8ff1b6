package verifier

import (
	"fmt"
	"math"
	"math/bits"
	"strconv"
	"strings"
)

// logInsn prints the instruction about to be checked, after what the last one changed.
func (e *env) logInsn(f *frame) {
	if e.scratched() {
		e.logInsnState(f)
	}
	e.logLine(e.insn, "; ")
	e.prevPos = e.pos()
	e.logf("%d: ", e.insn)
	e.logf("%s\n", e.disasm(e.insn))
	e.prevLen = e.pos() - e.prevPos
	e.prevPos = e.pos()
}

// logInsnState prints what changed beside the instruction printed last, if
// nothing came between, else on a line of its own.
func (e *env) logInsnState(f *frame) {
	const column, step = 40, 8
	if e.prevPos >= 0 && e.prevPos == e.pos() && len(e.buf) > 0 {
		e.truncate(e.pos() - 1)
		to := max(e.prevLen+step/2, column)
		to = (to + step - 1) &^ (step - 1)
		e.logf("%*c;", to-e.prevLen-1, ' ')
	} else {
		e.logf("%d:", e.insn)
	}
	e.logFrame(f, false)
}

// logFrame prints registers and stack of f: all, or those touched since the last time.
func (e *env) logFrame(f *frame, all bool) {
	e.buf = e.appendFrame(e.buf, f, all)
	e.buf = append(e.buf, '\n')
	if !all {
		e.scratchRegs, e.scratchSlots = 0, 0
	}
}

// stateLine is all of f on one line.
func (e *env) stateLine(f *frame) string {
	return strings.TrimSpace(string(e.appendFrame(nil, f, true)))
}

func (e *env) appendFrame(b []byte, f *frame, all bool) []byte {
	if f.no > 0 {
		b = fmt.Appendf(b, " frame%d:", f.no)
	}
	for i := range f.regs {
		r := &f.regs[i]
		if r.typ == notInit || !all && e.scratchRegs&(1<<i) == 0 {
			continue
		}
		b = append(b, " R"...)
		b = strconv.AppendInt(b, int64(i), 10)
		b = append(b, '=')
		b = e.appendReg(b, f, r)
	}
	for i := 0; i < len(f.stack); i++ {
		if all || e.scratchSlots&(1<<i) != 0 {
			b, i = e.appendSlot(b, f, i)
		}
	}
	// Ids of 0, of locks in maps of one element, are left out; if the first is, all are.
	for i := 0; i < len(e.st.refs) && e.st.refs[0].id != 0; i++ {
		id := e.st.refs[i].id
		switch {
		case id == 0:
			continue
		case i == 0:
			b = append(b, " refs="...)
		default:
			b = append(b, ',')
		}
		b = strconv.AppendUint(b, uint64(id), 10)
	}
	if f.inCallback {
		b = append(b, " cb"...)
	}
	if f.inAsync {
		b = append(b, " async_cb"...)
	}
	return b
}

// appendSlot prints slot i, or the object it is the start of, and returns the last slot printed.
func (e *env) appendSlot(b []byte, f *frame, i int) ([]byte, int) {
	s := &f.stack[i]
	valid := false
	var chars [regSize]byte
	for j, k := range s.kind {
		valid = valid || k != byteInvalid
		chars[j] = byteChars[k]
	}
	if !valid {
		return b, i
	}
	name := func(i int) { b = fmt.Appendf(b, " fp%d=", (-i-1)*regSize) }
	switch s.top() {
	case byteSpill:
		n := 0
		for n < regSize && s.kind[n] != byteSpill {
			n++
		}
		name(i)
		b = append(b, chars[:n]...)
		b = e.appendReg(b, f, &s.reg)
	case byteDynptr:
		if i+1 >= len(f.stack) {
			return b, i
		}
		i++
		r := &f.stack[i].reg
		name(i)
		b = fmt.Appendf(b, "dynptr_%s(", r.dyn)
		// The kernel prints of the first slot, where the id of a slice's dynptr would
		// be, that it is the first.
		sep, dynptr := "", r.dynptr
		if r.dynFirst {
			dynptr = 1
		}
		for _, p := range []struct {
			name string
			v    uint32
		}{{"id", r.id}, {"ref_id", r.ref}, {"dynptr_id", dynptr}} {
			if p.v != 0 {
				b = fmt.Appendf(b, "%s%s=%d", sep, p.name, p.v)
				sep = ","
			}
		}
		b = append(b, ')')
	case byteIter:
		if s.reg.ref == 0 {
			return b, i // not the iterator's first slot
		}
		name(i)
		b = fmt.Appendf(b, "iter_%s(ref_id=%d,state=%s,depth=%d)", iterName(s.reg.btf), s.reg.ref, s.reg.iter, s.reg.depth)
	default:
		name(i)
		b = append(b, chars[:]...)
	}
	return b, i
}

func iterName(t *btfType) string {
	if t == nil {
		return "<invalid>"
	}
	return strings.TrimPrefix(t.name, "bpf_iter_")
}

// appendReg prints a value as print_reg_state does: "5", "fp-8",
// "map_value(map=m,ks=4,vs=8,off=4)", "scalar(smin=0,umax=10,var_off=(0x0; 0xf))".
func (e *env) appendReg(b []byte, f *frame, r *reg) []byte {
	t := r.typ
	if t == scalarValue {
		if r.precise {
			b = append(b, 'P')
		}
		if r.isConst() {
			return appendSnum(b, int64(r.bits.value))
		}
	}
	b = append(b, t.String()...)
	if t == ptrToArena {
		return b
	}
	if t == ptrToStack {
		if f.no != int32(r.frame) {
			b = fmt.Appendf(b, "[%d]", r.frame)
		}
		if r.isConst() {
			return appendSnum(b, int64(r.bits.value)+int64(r.off))
		}
	}
	if t.base() == ptrToBTF && r.btf != nil {
		b = append(b, r.btf.name...)
	}
	b = append(b, '(')
	sep := ""
	add := func(format string, args ...any) {
		b = append(b, sep...)
		b = fmt.Appendf(b, format, args...)
		sep = ","
	}
	if r.id != 0 {
		add("id=%d", r.id&^addConst)
	}
	if r.id&addConst != 0 {
		b = fmt.Appendf(b, "%+d", r.off)
	}
	if r.ref != 0 {
		add("ref_obj_id=%d", r.ref)
	}
	if t.isNonOwningRef() {
		add("non_own_ref")
	}
	if m := r.m; m != nil && (t.base() == constPtrToMap || t.base() == ptrToMapKey || t.base() == ptrToMapValue) {
		if m.Name != "" && !e.inner[m] { // the kernel's copy of an inner map's definition has none
			add("map=%s", m.Name)
		}
		add("ks=%d,vs=%d", m.KeySize, m.ValueSize)
	}
	if t != scalarValue && r.off != 0 {
		add("off=")
		b = appendSnum(b, int64(r.off))
	}
	if t.isPkt() {
		add("r=")
		b = appendUnum(b, uint64(int64(r.rng)))
	}
	if t.base() == ptrToMem {
		add("sz=")
		b = appendUnum(b, uint64(r.size))
	}
	if t == constPtrToDynptr {
		add("type=%s", r.dyn)
	}
	if r.isConst() {
		if r.bits.value != 0 {
			add("imm=")
			b = appendSnum(b, int64(r.bits.value))
		}
		return append(b, ')')
	}
	b, sep = appendRanges(b, &r.scalar, sep)
	if !r.bits.isUnknown() {
		b = append(b, sep...)
		b = append(b, "var_off="...)
		b = r.bits.append(b)
	}
	return append(b, ')')
}

// appendRanges prints the bounds that say something; those of one value share it: "smin=umin=4".
func appendRanges(b []byte, s *scalar, sep string) ([]byte, string) {
	small := func(v int32) uint64 { // negative 32-bit numbers in hexadecimal have 32 bits
		if v >= math.MinInt16 && v <= math.MaxInt16 {
			return uint64(int64(v))
		}
		return uint64(uint32(v))
	}
	type bound struct {
		name string
		v    uint64
		omit bool
	}
	bs := [...]bound{
		{"smin", uint64(s.smin), s.smin == math.MinInt64},
		{"smax", uint64(s.smax), s.smax == math.MaxInt64},
		{"umin", s.umin, s.umin == 0},
		{"umax", s.umax, s.umax == math.MaxUint64},
		{"smin32", small(s.s32min), s.s32min == math.MinInt32},
		{"smax32", small(s.s32max), s.s32max == math.MaxInt32},
		{"umin32", uint64(s.u32min), s.u32min == 0},
		{"umax32", uint64(s.u32max), s.u32max == math.MaxUint32},
	}
	negative := func(b *bound) bool { return b.name[0] == 's' && int64(b.v) < 0 }
	for i := range bs {
		x := &bs[i]
		if x.omit {
			continue
		}
		b = append(b, sep...)
		b = append(b, x.name...)
		b = append(b, '=')
		sep = ","
		for j := i + 2; j < len(bs); j += 2 {
			y := &bs[j]
			if y.omit || y.v != x.v || negative(x) != negative(y) {
				continue
			}
			y.omit = true
			b = append(b, y.name...)
			b = append(b, '=')
		}
		if x.name[0] == 's' {
			b = appendSnum(b, int64(x.v))
		} else {
			b = appendUnum(b, x.v)
		}
	}
	return b, sep
}

// regMask and slotMask print sets as "r1,r3" and "-8,-16".
func regMask(m uint16) string {
	var s []string
	for ; m != 0; m &= m - 1 {
		s = append(s, "r"+strconv.Itoa(bits.TrailingZeros16(m)))
	}
	return strings.Join(s, ",")
}

func slotMask(m uint64) string {
	var s []string
	for ; m != 0; m &= m - 1 {
		s = append(s, strconv.Itoa(-(bits.TrailingZeros64(m)+1)*regSize))
	}
	return strings.Join(s, ",")
}
