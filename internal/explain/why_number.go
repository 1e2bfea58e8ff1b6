package explain

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/verifier"
	"github.com/skep-bpf/skep/isa"
)

// noteNumber notes where a number comes from and what comparisons told of it.
func (s *story) noteNumber(sp spot, at int) { s.trace(at, sp) }

// boundFix says to bound a number before it is used: at the comparison that
// does not bound it well enough, or before the use.
func (s *story) boundFix(sp spot, at int, code, text string) {
	for _, e := range s.lineage(at, sp) {
		if e.how != narrowed {
			continue
		}
		if v, w := s.value(e.at, e.to), s.value(e.at+1, e.to); v != nil && w != nil && v.Scalar() && v.Text != w.Text && !equality(s.insn(e.at)) {
			s.fixAt(s.placeOf(e.at), code, "%s; the comparison at %s does not do it", text, s.placeOf(e.at))
			return
		}
	}
	for _, e := range s.lineage(at, sp) {
		if ins := s.insn(max(e.at, 0)); e.how == computed && !e.hasOther && ins.Op.ALUOp() == isa.And && ins.Imm > 0 {
			s.fixAt(s.placeOf(e.at), "", "%s; the mask at %s lets through up to %d", text, s.placeOf(e.at), ins.Imm)
			return
		}
	}
	s.fixBefore(s.placeOf(at), code, "%s", text)
}

// limits of the object a pointer points into, in bytes; -1 where not known.
func limit(v *verifier.Value) int {
	switch v.Kind() {
	case "map_value":
		return int(v.Map().ValueSize)
	case "map_key":
		return int(v.Map().KeySize)
	case "mem":
		return v.Size()
	}
	return -1
}

// whyBounds: an access reaches beyond an object of known size.
func (s *story) whyBounds() {
	n := s.blamedPointer()
	v := s.reg(n)
	off, size, ok := s.accessed()
	if v == nil || !ok {
		s.whyAny()
		return
	}
	size0 := limit(v)
	if m := regexp.MustCompile(`(?:value_size|key_size|mem_size)=(\d+)`).FindStringSubmatch(s.h.Err.Msg); m != nil {
		size0, _ = strconv.Atoi(m[1])
	}
	what := s.what(v)
	s.know("%s is %s", s.called(n), what)
	if w := s.reg(n + 1); v.Fixed() && s.insn(s.now).IsHelperCall() && n < 5 && w != nil && w.Scalar() {
		if _, known := w.Const(); !known {
			s.know("the size that goes with it is %s", s.what(w))
			s.trace(s.now, s.here(n))
			s.noteNumber(s.here(n+1), s.now)
			s.boundFix(s.here(n+1), s.now, "", fmt.Sprintf("Bound %s to what is there, %s", s.nameHere(n+1, "the size"), bytes(size0-max(v.Off(), 0))))
			return
		}
	}
	if v.Fixed() {
		s.know("%s accessed at offset %d: that is up to byte %d, and there are %d", bytesAre(size), off, off+size, size0)
		s.trace(s.now, s.here(n))
		s.note(s.now, "this reaches %s too far", bytes(off+size-size0))
		switch {
		case off < 0:
			s.x.Fix = Fix{}
			s.fixAt(s.x.At, "", "Do not go before the start of the object: the offset is %d", off)
		case v.Kind() == "map_value":
			s.fixAt(s.x.At, "", "Use the type that map %s has (%s), or make its value type at least %s large", mapName(v), bytes(size0), bytes(off+size))
		case strings.Contains(v.Type(), "ringbuf"):
			from := origin(s.lineage(s.now, s.here(n)))
			s.fixAt(s.placeOf(max(from.at, 0)), "", "Ask for at least %s when reserving: sizeof of the type that is used", bytes(off+size))
		case v.Kind() == "map_key":
			s.fixAt(s.x.At, "", "Use the type of the map's key (%s) for the callback's parameter", bytes(size0))
		default:
			from := origin(s.lineage(s.now, s.here(n)))
			if from.how == called {
				s.fixAt(s.placeOf(from.at), "", "Ask for at least %s, or access fewer", bytes(off+size))
			} else {
				s.fixAt(s.x.At, "", "Stay within the %s that the pointer is known to have: give the parameter the type that is used", bytes(size0))
			}
		}
		return
	}
	lo, hi := v.Signed()
	if w, ok := s.sizeArgument(n); ok {
		s.know("%s", w)
	}
	sp, at, ok := s.addend(n)
	if !ok {
		s.trace(s.now, s.here(n))
		s.fixBefore(s.x.At, "", "%s", s.fixWords())
		return
	}
	last := size0 - size - off // the largest variable part that fits
	if int64(off) >= hi && off >= size0 {
		last += int(hi) // the message has the largest in its offset
	}
	s.know("its variable part may be from %d to %d; beyond %d there is no room for %s in %s", lo, hi, last, bytes(size), bytes(size0))
	s.noteNumber(sp, at)
	s.note(at, "added to the pointer")
	elems := ""
	if scale := s.scale(at, sp); size0 > 0 && last >= 0 {
		elems = fmt.Sprintf(": the largest that fits is %d", last/scale)
	}
	name := s.indexName(at, sp)
	s.boundFix(sp, at, "", fmt.Sprintf("Bound %s before it is used as an index%s", orIt(name, "the number"), elems))
}

// scale is what a number was multiplied by before it was added to a pointer: the size of an element.
func (s *story) scale(at int, sp spot) int {
	for _, e := range s.lineage(at, sp) {
		if e.how == computed {
			if t := s.times(e); t > 1 {
				return t
			}
		}
	}
	return 1
}

// indexName is what a number is called in C.
func (s *story) indexName(at int, sp spot) string { return s.name(at, sp) }

// blamedPointer is the pointer an access goes through: of a helper's arguments, or of a load or store.
func (s *story) blamedPointer() int {
	if s.now < 0 {
		return -1
	}
	ins := s.insn(s.now)
	switch ins.Op.Class() {
	case isa.ClassLDX:
		return int(ins.Src)
	case isa.ClassST, isa.ClassSTX:
		return int(ins.Dst)
	}
	if m := regInMsg.FindStringSubmatch(s.h.Err.Msg); m != nil {
		n, _ := strconv.Atoi(m[1])
		return n
	}
	// A helper's: the argument that points to an object of that size.
	want := -1
	if m := regexp.MustCompile(`(?:value_size|key_size|mem_size)=(\d+)`).FindStringSubmatch(s.h.Err.Msg); m != nil {
		want, _ = strconv.Atoi(m[1])
	}
	for n := 1; n <= 5; n++ {
		if v := s.reg(n); v != nil && v.Pointer() && limit(v) == want {
			return n
		}
	}
	return s.blamed()
}

// sizeArgument says what size a helper is given together with the pointer in register n.
func (s *story) sizeArgument(n int) (string, bool) {
	if !s.insn(s.now).IsHelperCall() || n < 1 || n > 4 {
		return "", false
	}
	h := catalog.HelperByID(catalog.HelperID(s.insn(s.now).Imm))
	if h == nil {
		return "", false
	}
	if b := h.Args[n].Type.Base(); b != catalog.ArgConstSize && b != catalog.ArgConstSizeOrZero {
		return "", false
	}
	v := s.reg(n + 1)
	if v == nil {
		return "", false
	}
	return fmt.Sprintf("the size that goes with it, argument %d, is %s", n+1, s.what(v)), true
}

// whyNumber: a number is not bounded well enough.
func (s *story) whyNumber() {
	n := s.blamed()
	v := s.reg(n)
	if v == nil {
		s.whyAny()
		return
	}
	sp, at, ok := s.here(n), s.now, v.Scalar()
	if !ok {
		s.know("%s is %s", s.called(n), s.what(v))
		if sp, at, ok = s.addend(n); !ok {
			if s.kindIs("stack-index") && v.Fixed() {
				s.whyStackBounds()
				return
			}
			if o, known := s.operand(); known {
				sp, at, ok = o, s.now, true
			}
		}
	} else if p, hasPtr := s.pointerOf(n); hasPtr {
		s.know("argument %d is %s, and the size that goes with it is %s", p, s.what(s.reg(p)), s.what(v))
	} else {
		s.know("%s is %s", s.called(n), s.what(v))
	}
	if !ok {
		s.trace(s.now, s.here(n))
		s.fixBefore(s.x.At, "", "%s", s.fixWords())
		return
	}
	num := s.value(at, sp)
	if at != s.now || !v.Scalar() {
		s.know("what is added to it is %s", s.what(num))
	}
	s.noteNumber(sp, at)
	name := s.indexName(at, sp)
	it := orIt(name, "the number")
	room := s.room(n)
	code := ""
	switch {
	case s.kindIs("negative-index"), s.kindIs("negative-size"):
		text := fmt.Sprintf("Make %s unsigned, or check that it is not negative as well, before it is used", it)
		if name != "" && plainName(name) {
			code = fmt.Sprintf("if (%s < 0)\n\t%s", name, s.leave())
		}
		s.boundFix(sp, at, code, text)
	case s.kindIs("zero-size"):
		_, hi := num.Unsigned()
		large := room > 0 && hi > uint64(room)
		if large {
			s.know("it may also be larger than the %s there are", bytes(room))
		}
		if name != "" && plainName(name) {
			code = fmt.Sprintf("if (!%s)\n\t%s", name, s.leave())
			if large {
				code = fmt.Sprintf("if (!%s || %s > %d)\n\t%s", name, name, room, s.leave())
			}
		}
		s.fixBefore(s.x.At, code, "Leave when %s is 0%s, before the call", it, map[bool]string{true: " or too large"}[large])
	case s.negative(sp, at):
		s.know("checked against its upper bound alone, a signed number may be negative")
		if name != "" && plainName(name) {
			code = fmt.Sprintf("if (%s < 0)\n\t%s", name, s.leave())
		}
		s.boundFix(sp, at, code, fmt.Sprintf("Make %s unsigned, or check that it is not negative as well, before it is used", it))
	default:
		if name != "" && plainName(name) {
			most := "LIMIT"
			if room > 0 {
				most = strconv.Itoa(room)
			}
			code = fmt.Sprintf("if (%s > %s)\n\t%s", name, most, s.leave())
			if !s.reg(n).Scalar() {
				if scale := s.scale(at, sp); room > 0 && scale >= 1 {
					code = fmt.Sprintf("if (%s >= %d)\n\t%s", name, room/scale, s.leave())
				} else {
					code = fmt.Sprintf("if (%s >= LIMIT)\n\t%s", name, s.leave())
				}
			}
		}
		s.boundFix(sp, at, code, fmt.Sprintf("Bound %s before it is used", it))
	}
}

// negative reports whether a number was bounded above by a comparison, and may still be negative.
func (s *story) negative(sp spot, at int) bool {
	if lo, _ := s.value(at, sp).Signed(); lo >= 0 {
		return false
	}
	for _, e := range s.lineage(at, sp) {
		if e.at < 0 {
			continue
		}
		v := s.value(e.at+1, e.to)
		if v == nil || !v.Scalar() {
			continue
		}
		if lo, hi := v.Signed(); lo < 0 && hi < 1<<31-1 {
			return true
		}
	}
	return false
}

// operand is the register operand of the refused arithmetic.
func (s *story) operand() (spot, bool) {
	ins := s.insn(s.now)
	if c := ins.Op.Class(); c != isa.ClassALU && c != isa.ClassALU64 || !ins.Op.UsesReg() {
		return spot{}, false
	}
	for _, r := range []isa.Register{ins.Src, ins.Dst} {
		if v := s.reg(int(r)); v != nil && v.Scalar() {
			return s.here(int(r)), true
		}
	}
	return spot{}, false
}

func plainName(n string) bool { return identifier.FindString(n) == n }

// pointerOf is the argument that the size in register n goes with.
func (s *story) pointerOf(n int) (int, bool) {
	if n < 2 || !s.insn(s.now).Op.Class().IsJump() {
		return 0, false
	}
	p := s.reg(n - 1)
	return n - 1, p != nil && p.Pointer()
}

// room is how many bytes the object has that the number in (or behind) register n measures; 0: not known.
func (s *story) room(n int) int {
	v := s.reg(n)
	if v.Scalar() {
		p, ok := s.pointerOf(n)
		if !ok {
			return 0
		}
		v = s.reg(p)
	}
	switch {
	case v.Kind() == "fp" && v.Fixed():
		return -v.Offset()
	case v.Kind() == "fp":
		return -v.Off()
	case limit(v) > 0:
		return limit(v) - max(v.Off(), 0)
	}
	return 0
}

// whyLost: a check was made of a copy.
func (s *story) whyLost() {
	l := s.lostRange()
	n := s.blamed()
	s.know("%s is %s", s.called(n), s.what(s.reg(n)))
	at := s.now
	if _, a, ok := s.numberAtFault(); ok {
		at = a
	}
	if v := s.value(at, l.used); v != nil {
		s.know("the number at fault is %s", s.what(v))
	}
	if t := s.source(l.root); t != "" {
		s.note(max(l.root.at, 0), "%s", t)
	}
	if l.again {
		s.note(l.check, "this comparison is of what was read from the same place before")
		s.fixAt(s.placeOf(l.check), "", "Read it once into a variable, and check and use that: memory may change between two reads")
		return
	}
	ins := s.insn(l.check)
	checked := s.value(l.check+1, spot{frame: s.depth(l.check), index: int(ins.Dst)})
	copied := "a copy"
	if ins.Op.Class() == isa.ClassJMP32 {
		copied = "the low 32 bits of a copy"
	}
	told := ""
	if t := number(checked); !strings.HasSuffix(t, "nothing is known") {
		told = ", which is " + t + " after it"
	}
	s.note(l.check, "this comparison is of %s%s; the verifier does not connect it with what is used", copied, told)
	for _, e := range l.uses {
		switch e.how {
		case halved:
			s.note(e.at, "what is used is a 32-bit copy, made here")
		case extended:
			s.note(e.at, "what is used is extended with its sign here")
		case computed:
			s.note(e.at, "what is used is computed here: %s", number(s.value(e.at+1, e.to)))
		case spilled:
			s.note(e.at, "what is used is saved on the stack here")
		}
	}
	s.fixAt(s.placeOf(l.check), "", "Check and use one and the same variable: declare it __u64 (no int, no __u32, no cast between check and use), and compare that one here")
}

// whyReturn: a return value outside its range.
func (s *story) whyReturn() {
	if s.now < 0 {
		return
	}
	v := s.reg(0)
	if v != nil {
		s.know("the value returned is %s", s.what(v))
	}
	if m := regexp.MustCompile(`should have been in \[(-?\d+), (-?\d+)\]`).FindStringSubmatch(s.h.Err.Msg); m != nil {
		if m[1] == m[2] {
			s.know("this program must return %s", m[1])
		} else {
			s.know("allowed are %s to %s", m[1], m[2])
		}
	}
	from := origin(s.lineage(s.now, s.here(0)))
	s.trace(s.now, s.here(0))
	p := s.x.At
	if from.at >= 0 {
		p = s.placeOf(from.at)
	}
	s.fixAt(p, "", "Return one of the allowed values on this path")
}
