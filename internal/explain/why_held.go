package explain

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/skep-bpf/skep/internal/verifier"
	"github.com/skep-bpf/skep/isa"
)

// endings name the calls that give back what a call acquired, the usual one
// first; %s is the pointer. A name that ends with * matches by its beginning.
var endings = []struct{ acquire, release string }{
	{"bpf_ringbuf_reserve", "bpf_ringbuf_discard(%s, 0)"},
	{"bpf_ringbuf_reserve_dynptr", "bpf_ringbuf_discard_dynptr(&%s, 0)"},
	{"bpf_sk_lookup_*", "bpf_sk_release(%s)"}, {"bpf_skc_lookup_*", "bpf_sk_release(%s)"},
	{"bpf_spin_lock", "bpf_spin_unlock(%s)"}, {"bpf_res_spin_lock", "bpf_res_spin_unlock(%s)"},
	{"bpf_rcu_read_lock", "bpf_rcu_read_unlock()"},
	{"bpf_preempt_disable", "bpf_preempt_enable()"},
	{"bpf_local_irq_save", "bpf_local_irq_restore(&%s)"},
	{"bpf_obj_new_impl", "bpf_obj_drop(%s)"}, {"bpf_percpu_obj_new_impl", "bpf_percpu_obj_drop(%s)"},
	{"bpf_task_*", "bpf_task_release(%s)"}, {"bpf_cgroup_*", "bpf_cgroup_release(%s)"},
	{"bpf_cpumask_create", "bpf_cpumask_release(%s)"}, {"bpf_cpumask_acquire", "bpf_cpumask_release(%s)"},
	{"bpf_get_task_exe_file", "bpf_put_file(%s)"},
	{"bpf_kptr_xchg", "bpf_obj_drop(%s)"},
}

// ending is the call that gives back what a call acquired, with %s for the pointer.
func ending(acquire string) string {
	for _, e := range endings {
		if prefix, ok := strings.CutSuffix(e.acquire, "*"); ok && strings.HasPrefix(acquire, prefix) || e.acquire == acquire {
			return e.release
		}
	}
	if rest, ok := strings.CutSuffix(acquire, "_new"); ok { // iterators
		return rest + "_destroy(&%s)"
	}
	return ""
}

// whyLeak: an object is not released on this path.
func (s *story) whyLeak() {
	if s.now < 0 {
		return
	}
	m := regexp.MustCompile(`alloc_insn=(\d+)`).FindStringSubmatch(s.h.Err.Msg)
	if m == nil {
		s.whyAny()
		return
	}
	slot, _ := strconv.Atoi(m[1])
	at := s.lastAt(slot)
	call := s.callee(s.insns[slot], slot)
	name := s.placeAt(slot).assigned()
	if name == "" {
		name = s.objectName(slot)
	}
	release := ending(call)
	s.know("what %s() at %s acquired is still held where this path ends", call, s.placeAt(slot))
	if at >= 0 {
		also := ""
		if strings.HasSuffix(call, "_reserve_dynptr") {
			also = "; also when it fails, it must be submitted or discarded"
		}
		s.note(at, "%s() acquires it%s%s", call, asName(name), also)
	}
	s.endsHeld(at, release, name, func(i int) bool { return s.isRelease(s.insns[i], i) })
}

func asName(name string) string {
	if name == "" {
		return ""
	}
	return ": `" + name + "`"
}

// objectName finds the variable whose address a call was given: bpf_iter_num_new(&it, …).
func (s *story) objectName(slot int) string {
	m := regexp.MustCompile(`&(\w+)`).FindAllStringSubmatch(s.placeAt(slot).Source, -1)
	if len(m) == 0 {
		return ""
	}
	return m[len(m)-1][1]
}

// lastAt is the last moment at a slot, or -1.
func (s *story) lastAt(slot int) int {
	for j := s.now; j >= 0; j-- {
		if s.h.Steps[j].Slot == slot {
			return j
		}
	}
	return -1
}

// endsHeld finds the branch on which a path left the road to the release, and
// says to release there; or, where no road leads to one, at the end.
func (s *story) endsHeld(since int, release, name string, isRelease func(slot int) bool) {
	code := ""
	if release != "" {
		if strings.Contains(release, "%s") {
			release = fmt.Sprintf(release, orName(name, "…"))
		}
		code = release + ";"
	}
	for j := s.now - 1; j > since && j >= 0; j-- {
		if !isJump(s.insn(j)) || s.depth(j) != s.depth(s.now) {
			continue
		}
		taken := s.h.Steps[j+1].Slot
		slot := s.h.Steps[j].Slot
		other := slot + 1
		if taken == other {
			other = slot + 1 + int(s.insn(j).Off)
		}
		if s.reaches(other, isRelease) && !s.reaches(taken, isRelease) {
			s.note(j, "%s; the other way leads to a release", s.way(j))
			s.note(s.now, "the path ends here, and nothing gave it back")
			s.fixAt(s.placeOf(j), code, "Release it before leaving on the path that begins at %s", s.placeOf(j))
			return
		}
	}
	s.note(s.now, "the path ends here, and nothing gave it back")
	if strings.TrimSpace(s.x.At.Source) == "}" { // the compiler kept no line of the return
		for j := s.now - 1; j > since && j >= 0; j-- {
			if p := s.placeOf(j); s.depth(j) == s.depth(s.now) && p.Line != s.x.At.Line {
				s.fixAfter(p, code, "Release it after %s, before the function returns", p)
				return
			}
		}
	}
	s.fixBefore(s.x.At, code, "Release it before %s", s.x.At)
}

// reaches reports whether from a slot on, within its function, some instruction may come that is wanted.
func (s *story) reaches(from int, want func(slot int) bool) bool {
	seen := map[int]bool{}
	todo := []int{from}
	for len(todo) > 0 {
		i := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if i < 0 || i >= len(s.insns) || seen[i] {
			continue
		}
		seen[i] = true
		ins := s.insns[i]
		if want(i) {
			return true
		}
		switch {
		case ins.IsExit():
		case ins.IsLoadImm64():
			todo = append(todo, i+2)
		case ins.Op.Class().IsJump() && ins.Op.JumpOp() == isa.Ja:
			todo = append(todo, i+1+ins.JumpOffset())
		case isJump(ins):
			todo = append(todo, i+1, i+1+int(ins.Off))
		default:
			todo = append(todo, i+1)
		}
	}
	return false
}

// section is a pair of calls that a path must close.
var sections = map[string]struct{ open, close string }{
	"lock-held-exit":  {"bpf_spin_lock", "bpf_spin_unlock"},
	"rcu-balance":     {"bpf_rcu_read_lock", "bpf_rcu_read_unlock"},
	"preempt-balance": {"bpf_preempt_disable", "bpf_preempt_enable"},
	"irq-balance":     {"bpf_local_irq_save", "bpf_local_irq_restore"},
}

// opened is the last moment at which a call of that name was made whose like is still open, or -1.
func (s *story) opened(names ...string) int {
	for j := s.now - 1; j >= 0; j-- {
		if ins := s.insn(j); ins.IsHelperCall() || ins.IsKfuncCall() {
			for _, n := range names {
				if s.calleeAt(j) == n {
					return j
				}
			}
		}
	}
	return -1
}

// whyHeld: a section is not closed on this path, or closed without being open.
func (s *story) whyHeld() {
	if s.now < 0 {
		return
	}
	pair := sections[s.kindNow().ID]
	at := s.opened(pair.open)
	if !strings.Contains(s.h.Err.Msg, "cannot be used inside") {
		if at >= 0 {
			s.note(at, "%s()", pair.open)
		}
		s.noteBranches(max(at, 0))
		if n := s.blamed(); n > 0 {
			if v := s.reg(n); v != nil && v.Pointer() {
				s.know("argument %d of %s() is %s", n, s.calleeAt(s.now), s.what(v))
			}
		}
		call := s.calleeAt(s.now)
		switch {
		case strings.Contains(s.h.Err.Msg, "nested"):
			s.know("%s() was called already and %s() not since", pair.open, pair.close)
			s.fixAt(s.x.At, "", "Call %s() once, or close the first section before", pair.open)
		case strings.Contains(s.h.Err.Msg, "out of order"):
			s.know("the flags saved last must be restored first")
			s.fixAt(s.x.At, "", "Swap the restores: the flags saved last come first")
		case call == pair.close:
			s.know("no %s() on this path is open", pair.open)
			s.fixAt(s.x.At, "", "Remove this %s(), or call %s() on every path that leads here", call, pair.open)
		default:
			s.fixAt(s.x.At, "", "%s", s.fixWords())
		}
		return
	}
	name := ""
	if at >= 0 {
		name = s.objectName(s.h.Steps[at].Slot)
		if s.kindIs("lock-held-exit") {
			name = lockName(s.placeOf(at).Source)
		}
		s.know("the section that %s() opened at %s is open where the path ends", s.calleeAt(at), s.placeOf(at))
		s.note(at, "%s() opens it", s.calleeAt(at))
	}
	s.endsHeld(at, ending(pair.open), name, func(i int) bool {
		return (s.insns[i].IsHelperCall() || s.insns[i].IsKfuncCall()) && s.callee(s.insns[i], i) == pair.close
	})
}

// lockName is the argument of a lock's call as it stands in the source.
func lockName(line string) string {
	m := regexp.MustCompile(`lock\w*\(([^()]*)\)`).FindStringSubmatch(line)
	if m == nil {
		return "…"
	}
	return m[1]
}

// whyNotOwned: something is released that was not acquired, or not as it was.
func (s *story) whyNotOwned() {
	s.whyAny()
	n := s.blamed()
	if v := s.reg(n); v != nil && v.Ref() != 0 && v.Fixed() && v.Offset() != 0 {
		from := origin(s.lineage(s.now, s.here(n)))
		it := "the pointer"
		if from.at >= 0 {
			it = fmt.Sprintf("the pointer that %s() at %s returned", s.calleeAt(from.at), s.placeOf(from.at))
		}
		s.fixAt(s.x.At, "", "Pass %s, not one that was moved by %d", it, v.Offset())
	}
}

// whyUnlock: a lock is released that is not held, or must be held and is not.
func (s *story) whyUnlock() {
	s.fixAt(s.x.At, "", "%s", s.fixWords())
	if s.now < 0 {
		return
	}
	taken := -1
	for _, h := range s.h.Steps[s.now].Held {
		if h.Kind == verifier.HeldLock {
			taken = s.lastAt(h.Insn)
		}
	}
	if taken >= 0 {
		s.know("the lock that is held was taken at %s", s.placeOf(taken))
		s.note(taken, "%s() takes a lock, and not this one as far as the verifier can tell", s.calleeAt(taken))
		return
	}
	s.know("no lock is held on this path")
	s.noteBranches(0)
	if s.kindIs("unlock") {
		s.fixAt(s.x.At, "", "Take the lock on every path that leads here, or release it only where it was taken")
	}
}

// whySpecial: a lock or timer is not where it is said to be.
func (s *story) whySpecial() {
	s.fixAt(s.x.At, "", "%s", s.fixWords())
	if s.now < 0 {
		return
	}
	n := max(s.blamed(), 1)
	v := s.reg(n)
	if v == nil {
		return
	}
	s.know("%s is %s", s.called(n), s.what(v))
	s.trace(s.now, s.here(n))
	if m := regexp.MustCompile(`'struct (\w+)' that is at (\d+)`).FindStringSubmatch(s.h.Err.Msg); m != nil {
		s.know("the struct %s lies at offset %s of the value", m[1], m[2])
		s.fixAt(s.x.At, "", "Pass the address of the struct %s in the value, which is at offset %s", m[1], m[2])
	}
}

// whySpecialAccess: a lock, timer or kernel pointer is accessed as if it were data.
func (s *story) whySpecialAccess() {
	s.whyAny()
	field, _, _ := strings.Cut(s.h.Err.Msg, " ")
	s.know("the access touches a %s in it", field)
	if field == "kptr" {
		s.fixAt(s.x.At, "", "Access the kernel pointer by its name, all 8 bytes of it at its own offset; change it with bpf_kptr_xchg()")
	}
}

// whyMismatch: a timer and the map it is set up with.
func (s *story) whyMismatch() {
	s.fixAt(s.x.At, "", "%s", s.fixWords())
	for n := 1; n <= 2 && s.now >= 0; n++ {
		if v := s.reg(n); v != nil {
			s.know("%s is %s", s.called(n), s.what(v))
			s.trace(s.now, s.here(n))
			if n == 1 && v.Map() != nil {
				s.fixAt(s.x.At, "", "Pass the map that the value lies in: %s", mapName(v))
			}
		}
	}
}

// whyLocked: something is called inside a section in which it may not be.
func (s *story) whyLocked() {
	if s.now < 0 {
		return
	}
	at := -1
	held := s.h.Steps[s.now].Held
	for i := len(held) - 1; i >= 0 && at < 0; i-- {
		if h := held[i]; h.Kind != verifier.HeldObject {
			at = s.lastAt(h.Insn)
		}
	}
	if at < 0 {
		at = s.opened("bpf_rcu_read_lock", "bpf_preempt_disable", "bpf_local_irq_save")
	}
	call := s.calleeAt(s.now)
	if at >= 0 {
		open := s.calleeAt(at)
		s.know("%s() at %s opened a section that is still open", open, s.placeOf(at))
		s.note(at, "%s() opens the section", open)
		for j := at + 1; j < s.now; j++ {
			if s.insn(j).IsLocalCall() && s.depth(j+1) > s.depth(j) && s.depth(j+1) <= s.depth(s.now) && s.depth(j) >= s.depth(at) {
				s.note(j, "%s() is called inside it", s.calleeAt(j))
			}
		}
		s.note(s.now, "%s() is called inside it", call)
		switch s.kindNow().ID {
		case "lock-twice":
			s.fixBefore(s.x.At, "", "Release the lock taken at %s before taking this one", s.placeOf(at))
		case "sleep-in-atomic":
			close := ending(open)
			if strings.Contains(close, "%s") {
				close = fmt.Sprintf(close, "…")
			}
			s.fixAt(s.x.At, "", "Move this call out of the section: before %s, or behind %s", s.placeOf(at), close)
		default:
			s.fixAt(s.x.At, "", "Call %s() before the lock is taken at %s and use its result inside, or call it after the unlock", call, s.placeOf(at))
		}
		return
	}
	s.fixAt(s.x.At, "", "%s", s.fixWords())
}
