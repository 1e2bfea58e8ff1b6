package explain

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/skep-bpf/skep/isa"
)

// whyStackBounds: an access outside of the frame.
func (s *story) whyStackBounds() {
	n := s.blamed()
	v := s.reg(n)
	off, size, ok := s.accessed()
	if v == nil || !ok {
		s.whyAny()
		return
	}
	s.know("%s is %s", s.called(n), s.what(v))
	if off >= 0 || off+size > 0 {
		s.know("%s from fp%+d reach up to fp%+d, and the stack ends at fp: %d too many", bytes(size), off, off+size, off+size)
	} else {
		s.know("the stack begins at fp-512, and fp%+d is before it", off)
	}
	if t, ok := s.sizeArgument(n); ok {
		s.know("%s", t)
	}
	s.trace(s.now, s.here(n))
	if s.insn(s.now).IsHelperCall() {
		if w := s.reg(n + 1); n < 5 && w != nil && w.Scalar() {
			if _, known := w.Const(); !known && v.Fixed() {
				s.noteNumber(s.here(n+1), s.now)
				s.boundFix(s.here(n+1), s.now, "", fmt.Sprintf("Bound %s to what the variable has, %s", s.nameHere(n+1, "the size"), bytes(max(-v.Offset(), 0))))
				return
			}
		}
		s.fixAt(s.x.At, "", "Tell %s() the size of the variable itself (sizeof), which is at most %s here", s.calleeAt(s.now), bytes(max(-v.Offset(), 0)))
		return
	}
	s.fixAt(s.x.At, "", "Stay within the variable: the index is too large, or the array too small")
}

var badStack = regexp.MustCompile(`stack (?:R\d+ )?(?:off|var_off) (-?\d+|\S+)\+(\d+) size (\d+)`)

// whyStackUnset: stack bytes that were never written.
func (s *story) whyStackUnset() {
	m := badStack.FindStringSubmatch(s.h.Err.Msg)
	if m == nil || s.now < 0 {
		s.whyAny()
		return
	}
	base, err := strconv.Atoi(m[1])
	if err != nil {
		s.whyAny()
		return
	}
	size, _ := strconv.Atoi(m[3])
	frame := s.depth(s.now)
	n := s.blamed()
	if v := s.reg(n); v != nil && v.Kind() == "fp" {
		frame = v.Frame()
	}
	var missing []int
	for i := range size {
		sl := s.slot(s.now, spot{frame: frame, slot: true, index: slotOf(base + i)})
		if sl == nil || !sl.Written(((base+i)%8+8)%8) {
			missing = append(missing, i)
		}
	}
	for i := range size {
		sl := s.slot(s.now, spot{frame: frame, slot: true, index: slotOf(base + i)})
		if sl != nil && (sl.Kind() == "dynptr" || sl.Kind() == "iter" || sl.Kind() == "irq") {
			what := map[string]string{"dynptr": "a dynptr", "iter": "an iterator", "irq": "saved interrupt flags"}[sl.Kind()]
			s.know("%s lies there (fp%+d), whose bytes belong to the kernel and may not be read", what, base)
			if at := s.madeAt(s.now, spot{frame: frame, slot: true, index: slotOf(base + i)}); at >= 0 {
				s.note(at, "%s() sets it up", s.calleeAt(at))
			}
			s.note(s.now, "its bytes are read here")
			s.fixAt(s.x.At, "", "Do not read, copy or store %s itself: use the functions made for it, as bpf_dynptr_read() for what a dynptr leads to", what)
			return
		}
	}
	who := "this"
	if s.insn(s.now).Op.Class().IsJump() {
		who = s.calleeAt(s.now) + "()"
	}
	s.know("%s reads %s at fp%d; of these %s never written", who, bytes(size), base, spans(missing))
	// Who wrote the others.
	for j := 0; j < s.now; j++ {
		for i := slotOf(base); i >= 0 && i >= slotOf(base+size-1); i-- {
			sp := spot{frame: frame, slot: true, index: i}
			a, b := s.slot(j, sp), s.slot(j+1, sp)
			if b == nil || a == b {
				continue
			}
			lo, hi := max(base, -8*(i+1)), min(base+size, -8*i)
			var wrote []int
			for k := lo; k < hi; k++ {
				was := a != nil && a.Written(((k)%8+8)%8)
				if !was && b.Written(((k)%8+8)%8) {
					wrote = append(wrote, k-base)
				}
			}
			if len(wrote) > 0 {
				s.note(j, "%s written", spans(wrote))
			}
		}
	}
	s.note(s.now, "read here as a whole")
	if len(missing) == size {
		s.fixBefore(s.x.At, "", "Give the variable a value before %s, or clear it where it is declared: = {}", s.x.At)
		return
	}
	s.fixBefore(s.x.At, "", "Clear the variable where it is declared (= {}; __builtin_memset for padding between fields): then all %s are written before %s", bytes(size), s.x.At)
}

// spans prints byte numbers as "bytes 0–3 and 8 are".
func spans(list []int) string {
	var parts []string
	for i := 0; i < len(list); {
		j := i
		for j+1 < len(list) && list[j+1] == list[j]+1 {
			j++
		}
		if i == j {
			parts = append(parts, strconv.Itoa(list[i]))
		} else {
			parts = append(parts, fmt.Sprintf("%d–%d", list[i], list[j]))
		}
		i = j + 1
	}
	if len(list) == 1 {
		return "byte " + parts[0] + " is"
	}
	return "bytes " + strings.Join(parts, ", ") + " are"
}

// whyUnset: a register that nothing was put into.
func (s *story) whyUnset() {
	n := s.blamed()
	if n < 0 {
		return
	}
	last := s.lineage(s.now, s.here(n))
	from := origin(last)
	switch {
	case s.insn(s.now).IsExit() && n == 0:
		s.know("%s ends here on a path that puts nothing into its result (R0)", s.functionOf(s.now)+"()")
		s.noteBranches(0)
		s.fixAt(s.x.At, "return 0;", "End every path with a return; a variable that is returned needs a value on every path")
		return
	case from.how == cleared:
		s.know("R%d was emptied by a call, as R1 to R5 are", n)
		s.note(from.at, "the call of %s() leaves nothing in R1 to R5", s.calleeAt(from.at))
	default:
		s.know("nothing on this path puts a value into R%d", n)
		s.noteBranches(0)
	}
	s.fixAt(s.x.At, "", "Give the variable a value on every path that leads here, best where it is declared")
}

// noteBranches notes which way the last conditional jumps since a moment went.
func (s *story) noteBranches(since int) {
	const most = 3
	n := 0
	for j := s.now - 1; j >= since && n < most; j-- {
		if ins := s.insn(j); isJump(ins) && s.depth(j) == s.depth(s.now) {
			s.note(j, "%s", s.way(j))
			n++
		}
	}
}

// way says which way a conditional jump went.
func (s *story) way(j int) string {
	if s.h.Steps[j+1].Slot == s.h.Steps[j].Slot+1 {
		return "this path goes on here without jumping"
	}
	to := s.placeOf(j + 1)
	return fmt.Sprintf("this path jumps from here to %s", to)
}

// whyStackSize: too much stack.
func (s *story) whyStackSize() {
	type fn struct {
		name  string
		depth int
	}
	var list []fn
	worst := fn{depth: -1}
	start := 0
	for _, sub := range s.h.Subs {
		f := fn{s.function(sub.Start), sub.StackDepth}
		list = append(list, f)
		if f.depth > worst.depth {
			worst, start = f, sub.Start
		}
	}
	for _, f := range list {
		if f.depth > 0 {
			s.know("%s() has %s of variables on the stack", f.name, bytes(f.depth))
		}
	}
	p := s.placeAt(start)
	if s.x.At.Insn < 0 {
		s.x.At = p
	}
	s.fixAt(p, "", "Move the largest variables of %s() into a per-CPU array map of one element, and use a pointer to its value", worst.name)
}

// whyDepth: too many functions active at once.
func (s *story) whyDepth() {
	s.fixAt(s.x.At, "", "%s", s.fixWords())
	if s.now < 0 {
		if s.x.At.Insn >= 0 && s.insns[s.x.At.Insn].IsLocalCall() {
			s.know("one call too many is that of %s", s.callee(s.insns[s.x.At.Insn], s.x.At.Insn))
		}
		return
	}
	var chain []string
	for _, f := range s.h.Steps[s.now].Frames {
		if f.Subprog < len(s.h.Subs) {
			chain = append(chain, s.function(s.h.Subs[f.Subprog].Start))
		}
	}
	s.know("active are %s", strings.Join(chain, ", "))
}

// whyOverwritten: a dynptr that owns a record is written over.
func (s *story) whyOverwritten() {
	if s.now < 0 {
		return
	}
	n := s.blamedPointer()
	v := s.reg(n)
	if v == nil || v.Kind() != "fp" || !v.Fixed() {
		s.whyAny()
		return
	}
	off := v.Offset()
	if c := s.insn(s.now).Op.Class(); c == isa.ClassST || c == isa.ClassSTX {
		off += int(s.insn(s.now).Off)
	}
	made := s.madeAt(s.now, spot{frame: v.Frame(), slot: true, index: slotOf(off)})
	if made >= 0 {
		s.note(made, "%s() sets the dynptr up", s.calleeAt(made))
		s.know("the dynptr made at %s lies there and was not released", s.placeOf(made))
	}
	s.note(s.now, "this writes over it")
	s.fixAt(s.x.At, "", "Submit or discard the dynptr before %s, or use another variable here", s.x.At)
}

// madeAt is the moment of the call that made what lies in a slot, or -1.
func (s *story) madeAt(at int, sp spot) int {
	for i := at; i >= 0; {
		e := s.before(i, sp)
		if e.how == called || e.at < 0 {
			return e.at
		}
		i = e.at
	}
	return -1
}

// whyObject: a dynptr or iterator that is not set up (any more).
func (s *story) whyObject() {
	if s.now < 0 {
		return
	}
	what := "dynptr"
	if s.kindIs("iterator") {
		what = "iterator"
	}
	var v, n = s.reg(s.blamed()), s.blamed()
	if v == nil || v.Kind() != "fp" || !v.Fixed() {
		// Their numbers count arguments from 0 or from 1: look for the stack pointer.
		for r := 1; r <= 5; r++ {
			if w := s.reg(r); w != nil && w.Kind() == "fp" && w.Fixed() {
				v, n = w, r
				break
			}
		}
	}
	if v == nil || v.Kind() != "fp" || !v.Fixed() {
		s.whyAny()
		return
	}
	sp := spot{frame: v.Frame(), slot: true, index: slotOf(v.Offset())}
	call := s.calleeAt(s.now)
	if sl := s.slot(s.now, sp); sl != nil && (sl.Kind() == "iter" || sl.Kind() == "dynptr") {
		s.know("the %s at fp%+d is set up already", what, v.Offset())
		if at := s.madeAt(s.now, sp); at >= 0 {
			s.note(at, "%s() sets it up", s.calleeAt(at))
		}
		s.note(s.now, "%s() is to set it up again", call)
		s.fixAt(s.x.At, "", "End the first one before, or use a variable of its own for the second")
		return
	}
	// Was it one before?
	for j := s.now - 1; j >= 0; j-- {
		a, b := s.slot(j, sp), s.slot(j+1, sp)
		if a == b || a == nil {
			continue
		}
		if k := a.Kind(); (k == "dynptr" || k == "iter") && (b == nil || b.Kind() != k) {
			if at := s.madeAt(j, sp); at >= 0 {
				s.note(at, "%s() sets the %s up", s.calleeAt(at), what)
			}
			if s.releases(j) {
				s.know("the %s at fp%+d was ended by %s()", what, v.Offset(), s.calleeAt(j))
				s.note(j, "%s() ends it", s.calleeAt(j))
				s.note(s.now, "%s() uses it all the same", call)
				s.fixAt(s.x.At, "", "Move this before %s, or remove it", s.placeOf(j))
			} else {
				s.know("the %s at fp%+d was written over", what, v.Offset())
				s.note(j, "this writes over it")
				s.note(s.now, "%s() needs it", call)
				s.fixAt(s.placeOf(j), "", "Do not write to the %s's variable between setting it up and using it", what)
			}
			return
		}
	}
	s.know("argument %d of %s() is the address of a variable that no function has set up as %s", n, call, article(what))
	s.noteBranches(0)
	s.fixBefore(s.x.At, "", "Set it up before %s, on every path", s.x.At)
}

func article(noun string) string {
	if strings.ContainsAny(noun[:1], "aeiou") {
		return "an " + noun
	}
	return "a " + noun
}

// whyDynptrType: a dynptr of another kind than the call takes.
func (s *story) whyDynptrType() {
	n := s.blamed()
	v := s.reg(n)
	if v == nil || v.Kind() != "fp" || !v.Fixed() {
		s.whyAny()
		return
	}
	made := s.madeAt(s.now, spot{frame: v.Frame(), slot: true, index: slotOf(v.Offset())})
	if made < 0 {
		s.whyAny()
		return
	}
	s.know("the dynptr passed to %s() was set up by %s() at %s", s.calleeAt(s.now), s.calleeAt(made), s.placeOf(made))
	s.note(made, "%s() sets the dynptr up", s.calleeAt(made))
	s.note(s.now, "%s() takes only dynptrs of ring buffer records", s.calleeAt(s.now))
	s.fixAt(s.x.At, "", "Remove this call: such a dynptr is not released. Or set it up with bpf_ringbuf_reserve_dynptr()")
}
