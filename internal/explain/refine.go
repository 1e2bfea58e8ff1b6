package explain

import (
	"strings"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/isa"
)

// refine tells kinds apart that the verifier has one message for, by how the
// value at fault came to be what it is.
func (s *story) refine(k *Kind) *Kind {
	if k == nil {
		return nil
	}
	to := k.ID
	switch k.ID {
	case "ctx-access":
		if s.now >= 0 {
			if c := s.insn(s.now).Op.Class(); c == isa.ClassST || c == isa.ClassSTX {
				to = "ctx-write"
			}
		}
	case "return-value":
		if strings.HasPrefix(s.h.Err.Msg, "At callback") || strings.HasPrefix(s.h.Err.Msg, "At async callback") {
			to = "callback-return"
		}
	case "lock-held-call":
		if c := s.calleeHere(); c == "bpf_spin_lock" || c == "bpf_res_spin_lock" {
			to = "lock-twice"
		}
	case "not-a-pointer", "argument-type", "not-owned", "register-uninitialised", "untrusted-pointer", "pointer-arithmetic":
		if n := s.blamed(); n >= 0 {
			to = s.refineValue(k.ID, n)
		}
	case "negative-size", "unbounded-size", "negative-index", "unbounded-index", "map-value-bounds", "memory-bounds", "stack-index", "stack-bounds":
		if s.lostRange() != nil {
			to = "lost-range"
		}
	}
	return KindByID(to)
}

// refineValue looks at the value that is not what it should be.
func (s *story) refineValue(kind string, n int) string {
	v := s.reg(n)
	if v == nil {
		return kind
	}
	switch {
	case kind == "argument-type" && s.wanted(n) == argWords[catalog.ArgConstStr]:
		return "constant-string"
	case kind == "not-owned" && v.Kind() == "fp" && strings.Contains(s.calleeHere(), "dynptr"):
		if v.Fixed() {
			if sl := s.slot(s.now, spot{frame: v.Frame(), slot: true, index: slotOf(v.Offset())}); sl == nil || sl.Kind() != "dynptr" {
				return "double-release"
			}
		}
		return "dynptr-type"
	}
	if v.MayBeNull() && kind != "pointer-arithmetic" {
		return "null-check"
	}
	list := s.lineage(s.now, s.here(n))
	if e, ok := find(list, invalidated); ok {
		if s.insn(e.at).IsExit() {
			return kind
		}
		old := s.value(e.at, e.to)
		switch {
		case old.Kind() == "pkt" || old.Kind() == "pkt_end" || old.Kind() == "pkt_meta":
			return "stale-packet-pointer"
		case old.Kind() == "mem" && s.movesPacket(e.at):
			return "stale-packet-pointer"
		case s.releases(s.now):
			return "double-release"
		}
		return "use-after-release"
	}
	if c, ok := v.Const(); ok && c == 0 && kind == "not-a-pointer" {
		return "null-check"
	}
	return kind
}

// wasNull returns the moment of the branch on which a pointer turned out to be NULL, or -1.
func (s *story) wasNull(list []event) int {
	for _, e := range list {
		if e.how == narrowed {
			if v := s.value(e.at, e.to); v != nil && v.Pointer() && v.MayBeNull() {
				return e.at
			}
		}
	}
	return -1
}

// movesPacket reports whether a call may move the packet.
func (s *story) movesPacket(at int) bool {
	ins := s.insn(at)
	if ins.IsHelperCall() {
		h := catalog.HelperByID(catalog.HelperID(ins.Imm))
		return h != nil && h.Flags&catalog.ChangesPkt != 0
	}
	return ins.IsLocalCall()
}

// releases reports whether the instruction of a moment is a call that releases something.
func (s *story) releases(at int) bool {
	return at >= 0 && s.isRelease(s.insn(at), s.h.Steps[at].Slot)
}

func (s *story) isRelease(ins isa.Instruction, slot int) bool {
	if ins.IsHelperCall() {
		h := catalog.HelperByID(catalog.HelperID(ins.Imm))
		if h == nil {
			return false
		}
		for _, a := range h.Args {
			if a.Type.Has(catalog.Release) {
				return true
			}
		}
		return false
	}
	if !ins.IsKfuncCall() {
		return false
	}
	name := s.callee(ins, slot)
	if k := catalog.KfuncByName(name); k != nil && k.Flags&(catalog.KfRelease|catalog.KfIterDestroy) != 0 {
		return true
	}
	return strings.HasPrefix(name, "bpf_list_push") || strings.HasPrefix(name, "bpf_rbtree_add")
}

// calleeHere is what the refused instruction calls, if it does.
func (s *story) calleeHere() string {
	if s.now < 0 {
		return ""
	}
	return s.calleeAt(s.now)
}

// lost is a check of a value that the use does not profit from.
type lost struct {
	used  spot // the number at fault, where it is
	check int  // moment of the branch
	root  event
	uses  []event // from the use back to the root
	again bool    // what was checked was read from memory before, what is used later
}

// lostRange finds out whether the number at fault was checked, but in a copy
// that the verifier does not connect with the one used.
func (s *story) lostRange() *lost {
	if s.now < 0 {
		return nil
	}
	sp, at, ok := s.numberAtFault()
	if !ok {
		return nil
	}
	uses := s.lineage(at, sp)
	root := origin(uses)
	if root.at < 0 || root.how == constant {
		return nil
	}
	onTheWay := map[int]bool{}
	for _, e := range uses {
		if e.how != narrowed {
			continue
		}
		onTheWay[e.at] = true
		// Of the low half, which says nothing of the whole.
		v, w := s.value(e.at, e.to), s.value(e.at+1, e.to)
		if _, hi := s.value(at, sp).Signed(); hi < 1<<31 {
			continue // it was bounded all the same
		}
		if s.insn(e.at).Op.Class() == isa.ClassJMP32 && !equality(s.insn(e.at)) && v.Scalar() && number(v) == number(w) {
			return &lost{used: sp, check: e.at, root: root, uses: uses}
		}
	}
	since := root.at + 1
	if root.how == loaded {
		since = 0 // an earlier load of the same may have been checked
	}
	for j := s.now - 1; j >= since; j-- {
		ins := s.insn(j)
		if !isJump(ins) || onTheWay[j] || s.depth(j) != s.depth(s.now) {
			continue
		}
		reg := spot{frame: s.depth(j), index: int(ins.Dst)}
		v := s.value(j, reg)
		if v == nil || !v.Scalar() {
			continue
		}
		if w := s.value(j+1, reg); w == nil || w.Text == v.Text {
			continue // it told nothing
		}
		if equality(ins) {
			continue
		}
		o := origin(s.lineage(j, reg))
		switch {
		case o.at == root.at && o.how == root.how && o.to == root.to:
			return &lost{used: sp, check: j, root: root, uses: uses}
		case s.sameLoad(o, root):
			return &lost{used: sp, check: j, root: root, uses: uses, again: true}
		}
	}
	return nil
}

// sameLoad reports whether two events read the same place in memory.
func (s *story) sameLoad(a, b event) bool {
	if a.how != loaded || b.how != loaded || a.at < 0 || b.at < 0 {
		return false
	}
	x, y := s.insn(a.at), s.insn(b.at)
	if x.Op != y.Op || x.Off != y.Off || x.Op.Class() != isa.ClassLDX {
		return false
	}
	p := s.value(a.at, spot{frame: a.to.frame, index: int(x.Src)})
	q := s.value(b.at, spot{frame: b.to.frame, index: int(y.Src)})
	return p != nil && q != nil && p.Pointer() && p.Text == q.Text && p.Kind() != "ctx"
}

func equality(ins isa.Instruction) bool {
	switch ins.Op.JumpOp() {
	case isa.Jeq, isa.Jne, isa.Jset:
		return true
	}
	return false
}

// numberAtFault is the number whose range is not good enough, and a moment at which it is there.
func (s *story) numberAtFault() (sp spot, at int, ok bool) {
	n := s.blamed()
	v := s.reg(n)
	if v == nil || !v.Set() {
		return sp, 0, false
	}
	if v.Scalar() {
		return s.here(n), s.now, true
	}
	if v.Fixed() {
		if s.insn(s.now).Op.Class().IsJump() && n < 5 { // a helper's memory: its size comes next
			if w := s.reg(n + 1); w != nil && w.Scalar() {
				if _, known := w.Const(); !known {
					return s.here(n + 1), s.now, true
				}
			}
		}
		return sp, 0, false
	}
	return s.addend(n)
}

// addend is the number that was added to the pointer in register n to make its
// variable offset, and the moment it was.
func (s *story) addend(n int) (spot, int, bool) {
	for _, e := range s.lineage(s.now, s.here(n)) {
		if e.how != computed || !e.hasOther {
			continue
		}
		for _, sp := range []spot{e.other, e.to} {
			v := s.value(e.at, sp)
			if v == nil || !v.Scalar() {
				continue
			}
			if _, known := v.Const(); !known {
				return sp, e.at, true
			}
		}
	}
	return spot{}, 0, false
}
