package explain

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/skep-bpf/skep/isa"
)

// explainers know more of a kind than its row says: what was known in this
// case, where from, and which line to change. Kinds without one have whyAny.
var explainers map[string]func(*story)

func init() { // the explainers refer to kinds themselves
	explainers = map[string]func(*story){
		"null-check": (*story).whyNull, "stale-packet-pointer": (*story).whyStale,
		"use-after-release": (*story).whyReleased, "double-release": (*story).whyReleased,
		"packet-bounds": (*story).whyPacket, "map-value-bounds": (*story).whyBounds, "memory-bounds": (*story).whyBounds,
		"map-key-bounds": (*story).whyBounds, "unbounded-index": (*story).whyNumber, "negative-index": (*story).whyNumber,
		"unbounded-size": (*story).whyNumber, "negative-size": (*story).whyNumber, "zero-size": (*story).whyNumber,
		"pointer-offset": (*story).whyNumber, "stack-index": (*story).whyNumber, "lost-range": (*story).whyLost,
		"stack-bounds": (*story).whyStackBounds, "stack-uninitialised": (*story).whyStackUnset, "register-uninitialised": (*story).whyUnset,
		"stack-size": (*story).whyStackSize, "return-value": (*story).whyReturn, "callback-return": (*story).whyReturn,
		"reference-leak": (*story).whyLeak, "lock-held-exit": (*story).whyHeld, "rcu-balance": (*story).whyHeld,
		"preempt-balance": (*story).whyHeld, "irq-balance": (*story).whyHeld, "lock-held-call": (*story).whyLocked,
		"lock-twice": (*story).whyLocked, "sleep-in-atomic": (*story).whyLocked, "infinite-loop": (*story).whyLoop,
		"too-complex": (*story).whyComplex, "ctx-access": (*story).whyContext, "ctx-write": (*story).whyContext,
		"ctx-modified": (*story).whyContextMoved, "helper-program-type": (*story).whyHelper, "argument-type": (*story).whyArgument,
		"license": (*story).whyLicense, "sleepable": (*story).whySleepable, "dynptr-uninitialised": (*story).whyObject,
		"dynptr-overwritten": (*story).whyOverwritten, "iterator": (*story).whyObject, "map-type": (*story).whyMapType,
		"read-only-map": (*story).whyReadOnly, "constant-argument": (*story).whyConstant, "pointer-truncated": (*story).whyTruncated,
		"pointer-leak": (*story).whyLeaks, "kernel-function": (*story).whyKfunc, "misaligned": (*story).whyMisaligned,
		"division-by-zero": (*story).whyOperation, "shift": (*story).whyOperation, "frame-pointer": (*story).whyOperation,
		"call-depth": (*story).whyDepth, "unlock": (*story).whyUnlock, "special-field": (*story).whySpecial, "map-mismatch": (*story).whyMismatch,
		"constant-string": (*story).whyConstant, "lock-required": (*story).whyUnlock,
		"not-a-pointer": (*story).whyNotPointer,
		"not-owned":     (*story).whyNotOwned, "special-field-access": (*story).whySpecialAccess,
		"dynptr-type": (*story).whyDynptrType, "tail-call": (*story).whyTailCall, "function-call-argument": (*story).whyParameters,
	}
}

// whyAny says what is known of the registers at fault and where they come from.
func (s *story) whyAny() {
	if s.now < 0 {
		return
	}
	if n := s.blamed(); n >= 0 {
		if v := s.reg(n); v != nil {
			s.know("%s is %s", s.called(n), s.what(v))
			s.trace(s.now, s.here(n))
		}
	}
	if c := s.insn(s.now).Op.Class(); c == isa.ClassALU || c == isa.ClassALU64 {
		s.know("the operation is: %s", s.x.At.Asm)
	}
	s.fixAt(s.x.At, "", "%s", s.fixWords())
}

// whyOperation: what the registers hold does not matter.
func (s *story) whyOperation() {
	if s.x.At.Insn >= 0 {
		s.know("the operation is: %s", s.x.At.Asm)
	}
	s.fixAt(s.x.At, "", "%s", s.fixWords())
}

// fixWords is the row's remedy.
func (s *story) fixWords() string { return s.kindNow().Fix }

func (s *story) kindNow() *Kind { return s.x.Kind }

// called is how a register is spoken of: "`value` (R0)", or "R0".
func (s *story) called(n int) string {
	if callee := s.calleeHere(); callee != "" && n >= 1 && n <= 5 {
		if arg := argument(s.x.At.Source, callee, n); arg != "" {
			return fmt.Sprintf("argument %d of %s(), `%s`,", n, callee, arg)
		}
	}
	if name := s.nameOf(n); name != "" {
		return fmt.Sprintf("`%s` (R%d)", name, n)
	}
	if s.insn(s.now).Op.Class().IsJump() && n >= 1 && n <= 5 {
		if callee := s.calleeAt(s.now); callee != "" {
			return fmt.Sprintf("argument %d of %s()", n, callee)
		}
	}
	return fmt.Sprintf("R%d", n)
}

// trace notes where a value comes from, and the turns on the way that matter.
func (s *story) trace(at int, sp spot) {
	computedAt := "" // of the newest computation: the last on a line says it all
	for _, e := range s.lineage(at, sp) {
		switch e.how {
		case began, called, handed, loaded, constant, named, cleared:
			if t := s.source(e); t != "" && !(e.how == began && s.h.Steps[0].Frames[0].Subprog == 0) {
				s.note(max(e.at, 0), "%s", t)
			}
		case halved:
			s.note(e.at, "copied as 32 bits: the upper half is cut off")
		case extended:
			s.note(e.at, "extended with its sign: as a signed number it may be negative")
		case invalidated:
			s.note(e.at, "%s() takes it away", s.calleeAt(e.at))
		case narrowed:
			v, w := s.value(e.at, e.to), s.value(e.at+1, e.to)
			switch {
			case v.Pointer() && v.MayBeNull() && w.Scalar():
				s.note(e.at, "on this path it is NULL")
			case v.Scalar() && number(v) != number(w):
				s.note(e.at, "after this comparison it is %s", number(w))
			}
		case computed:
			w := s.value(e.at+1, e.to)
			if w == nil {
				continue
			}
			if w.Pointer() && e.hasOther {
				if o := s.value(e.at, e.other); o != nil && o.Scalar() {
					s.note(e.at, "%s is added to the pointer", number(o))
				}
			} else if w.Scalar() {
				line := s.placeOf(e.at).String()
				if times := s.times(e); times > 1 {
					s.note(e.at, "times %d, the size of an element: %s", times, number(w))
				} else if line != computedAt {
					s.note(e.at, "computed here: %s", number(w))
				}
				computedAt = line
			}
		}
	}
}

// times is what arithmetic multiplies a number by, as array indices are; 0: it does something else.
func (s *story) times(e event) int {
	ins := s.insn(e.at)
	if e.hasOther {
		return 0
	}
	switch ins.Op.ALUOp() {
	case isa.Lsh:
		if ins.Imm > 0 && ins.Imm < 20 {
			return 1 << ins.Imm
		}
	case isa.Mul:
		return int(ins.Imm)
	}
	return 0
}

// whyNull: a pointer that may be NULL is used.
func (s *story) whyNull() {
	n := s.blamed()
	v := s.reg(n)
	if v == nil {
		return
	}
	list := s.lineage(s.now, s.here(n))
	from := origin(list)
	name := s.nameOf(n)
	if at := s.wasNull(list); at >= 0 {
		s.know("on this path %s is NULL", s.called(n))
		s.trace(s.now, s.here(n))
		s.note(s.now, "and is used all the same")
		s.fixAt(s.x.At, "", "Use it only where it is not NULL, or leave in the branch at %s", s.placeOf(at))
		return
	}
	if arg := argument(s.x.At.Source, s.calleeHere(), n); arg == "NULL" || arg == "0" {
		s.know("argument %d of %s() is NULL", n, s.calleeHere())
		s.fixAt(s.x.At, "", "Pass a pointer that is not NULL: %s", orName(s.wanted(n), "what the function wants"))
		return
	}
	if v.Scalar() { // the compiler knew
		s.know("on this path %s is NULL", s.called(n))
		if from.at >= 0 {
			s.note(from.at, "NULL is put into it: the compiler knows that it is NULL on this path")
		}
		s.note(s.now, "and it is used all the same")
		s.fixAt(s.x.At, "", "Use it only where it is not NULL: look whether the check before %s is the wrong way round", s.x.At)
		return
	}
	s.know("%s is %s", s.called(n), s.what(v))
	if from.at >= 0 {
		s.note(from.at, "%s", s.source(from))
	} else {
		s.note(0, "%s, which a caller may pass as NULL", s.source(from))
	}
	s.note(s.now, "it is used here, and nothing on the way compares it with NULL")
	code := ""
	if name != "" {
		code = fmt.Sprintf("if (!%s)\n\t%s", name, s.leave())
	}
	s.fixBefore(s.x.At, code, "Before %s, leave when %s is NULL", s.x.At, orIt(name, "the pointer"))
	if from.how == began && s.h.Steps[0].Frames[0].Subprog > 0 {
		s.x.Fix.Text = fmt.Sprintf("Before %s, leave when the parameter is NULL; or tag it __arg_nonnull (btf_decl_tag \"arg:nonnull\"), so that callers may not pass NULL.", s.x.At)
	}
}

func orIt(name, otherwise string) string {
	if name == "" {
		return otherwise
	}
	return "`" + name + "`"
}

// whyNotPointer: a number is followed.
func (s *story) whyNotPointer() {
	n := s.blamed()
	v := s.reg(n)
	if v == nil {
		s.whyAny()
		return
	}
	s.know("%s is %s", s.called(n), s.what(v))
	s.trace(s.now, s.here(n))
	s.fixAt(s.x.At, "", "%s", s.fixWords())
	list := s.lineage(s.now, s.here(n))
	from := origin(list)
	if from.at < 0 {
		return
	}
	ins := s.insn(from.at)
	p := s.value(from.at, spot{frame: from.to.frame, index: int(ins.Src)})
	switch {
	case from.how == computed:
		for _, sp := range []spot{from.from, from.other} {
			if w := s.value(from.at, sp); w != nil && w.Pointer() {
				s.know("it was %s until the arithmetic at %s", s.what(w), s.placeOf(from.at))
				s.fixAt(s.placeOf(from.at), "", "Only numbers may be added to and subtracted from a pointer, for the result to be one: compute the offset first")
				return
			}
		}
	case from.how != loaded || p == nil || ins.Op.Class() != isa.ClassLDX:
	case p.Kind() == "fp" && !p.Fixed():
		s.fixAt(s.placeOf(from.at), "", "Choose the pointer with if and else, or unroll the loop: a pointer saved on the stack is only known when it is read from a fixed place")
	case p.Kind() == "fp" && p.Fixed():
		s.whyClobbered(from.at, spot{frame: p.Frame(), slot: true, index: slotOf(p.Offset() + int(ins.Off))})
	case p.Kind() == "pkt":
		s.fixAt(s.x.At, "", "What lies in a packet is no address: use it as an index or a key")
	case p.Kind() == "ctx":
		s.fixAt(s.x.At, "", "This field of the context is a number to the verifier: read what it points to with bpf_probe_read_kernel() or bpf_probe_read_user(), or get the pointer another way")
	}
}

// whyClobbered: a number was read from a slot where a pointer may have been saved.
func (s *story) whyClobbered(at int, sp spot) {
	for j := at - 1; j >= 0; j-- {
		a, b := s.slot(j, sp), s.slot(j+1, sp)
		if a == b || a == nil || a.Value == nil || !a.Value.Pointer() {
			continue
		}
		s.know("%s was saved at that place of the stack (fp%+d)", s.what(a.Value), -8*(sp.index+1))
		if saved := s.before(j, sp); saved.how == spilled {
			s.note(saved.at, "the pointer is saved on the stack here")
		}
		what := "this writes over it"
		if isCall(s.insn(j)) {
			what = s.calleeAt(j) + "() writes over it"
		}
		s.note(j, "%s", what)
		s.fixAt(s.placeOf(j), "", "Do not write there: an index or a size is too large, so that the write reaches the saved pointer")
		return
	}
	if sl := s.slot(at, sp); sl == nil || sl.Kind() == "" {
		s.know("nothing was ever written to that place of the stack")
		s.fixAt(s.x.At, "", "Give the variable a value before it is used: the compiler reads what was never written")
	}
}

// whyStale: the packet moved since the pointer was made.
func (s *story) whyStale() {
	n := s.blamed()
	list := s.lineage(s.now, s.here(n))
	e, _ := find(list, invalidated)
	call := s.calleeAt(e.at) + "()"
	old := s.value(e.at, e.to)
	s.know("%s was %s; since %s it is a number without meaning", s.called(n), s.what(old), s.placeOf(e.at))
	if from := origin(list); from.at >= 0 {
		s.note(from.at, "%s", s.source(from))
	}
	s.note(e.at, "%s may move the packet: pointers into it, data_end too, are worth nothing after it", call)
	s.note(s.now, "the old pointer is used")
	code := "data = (void *)(long)ctx->data;\ndata_end = (void *)(long)ctx->data_end;"
	s.fixAt(s.placeOf(e.at), code, "After %s read ctx->data and ctx->data_end again, make %s from them anew and check it against data_end again",
		s.placeOf(e.at), s.nameHere(n, "the pointer"))
}

// whyReleased: what a pointer led to was released before.
func (s *story) whyReleased() {
	n := s.blamed()
	list := s.lineage(s.now, s.here(n))
	e, ok := find(list, invalidated)
	if !ok { // a dynptr
		s.whyObject()
		return
	}
	call := s.calleeAt(e.at)
	s.know("%s was %s until %s() at %s released it", s.called(n), s.what(s.value(e.at, e.to)), call, s.placeOf(e.at))
	if from := origin(list); from.at >= 0 {
		s.note(from.at, "%s", s.source(from))
	}
	s.note(e.at, "%s() releases it: the pointer and all copies of it are gone", call)
	if s.kindIs("double-release") {
		s.note(s.now, "%s() is to release it again", s.calleeAt(s.now))
		s.fixAt(s.x.At, "", "Remove one of the two releases: the one at %s, or the one at %s", s.x.At, s.placeOf(e.at))
		return
	}
	s.note(s.now, "it is used here")
	s.fixAt(s.x.At, "", "Move this before the release at %s", s.placeOf(e.at))
}

// kindIs is for explainers of several kinds.
func (s *story) kindIs(id string) bool { return s.kindNow().ID == id }

// accessSize is how many bytes are accessed, and where from the pointer's fixed offset.
var sizeInMsg = regexp.MustCompile(`off=(-?\d+),? size=(\d+)`)

func (s *story) accessed() (off, size int, ok bool) {
	m := sizeInMsg.FindStringSubmatch(s.h.Err.Msg)
	if m == nil {
		return 0, 0, false
	}
	off, _ = strconv.Atoi(m[1])
	size, _ = strconv.Atoi(m[2])
	return off, size, true
}

// whyTruncated: half of a pointer.
func (s *story) whyTruncated() {
	n := s.blamed()
	if v := s.reg(n); v != nil {
		s.know("%s is %s, an address of 64 bits, and the instruction (%s) works on 32", s.called(n), s.what(v), s.x.At.Asm)
		s.trace(s.now, s.here(n))
	}
	s.fixAt(s.x.At, "", "Cast through long, not int or __u32: (long)pointer; declare variables and parameters that hold it as pointers or __u64")
}

// whyLeaks: a pointer is stored or returned as a number.
func (s *story) whyLeaks() {
	n := s.blamed()
	if v := s.reg(n); v != nil {
		s.know("%s is %s", s.called(n), s.what(v))
		s.trace(s.now, s.here(n))
		if strings.Contains(s.h.Err.Msg, "return value") {
			if from := origin(s.lineage(s.now, s.here(n))); from.at >= 0 && from.how != began {
				s.fixAt(s.placeOf(from.at), "", "Return a number: what the pointer points to, or a verdict, not the address itself")
				return
			}
		}
	}
	s.fixAt(s.x.At, "", "%s", s.fixWords())
}

// whyMisaligned: an access at an odd address.
func (s *story) whyMisaligned() {
	n := s.blamed()
	ins := s.insn(s.now)
	if c := ins.Op.Class(); c == isa.ClassLDX {
		n = int(ins.Src)
	} else if c == isa.ClassSTX || c == isa.ClassST {
		n = int(ins.Dst)
	}
	if v := s.reg(n); v != nil {
		s.know("%s is %s; %s at %+d from it are not at a multiple of %d", s.called(n), s.what(v), bytes(ins.Op.Bytes()), ins.Off, ins.Op.Bytes())
		s.trace(s.now, s.here(n))
	}
	s.fixAt(s.x.At, "", "%s", s.fixWords())
}
