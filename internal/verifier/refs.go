package verifier

import (
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/isa"
)

// acquire adds a reference to an object and returns its id.
func (e *env) acquire() uint32 {
	id := e.newID()
	e.st.refs = append(e.st.refs, ref{kind: refPtr, id: id, insn: int32(e.insn)})
	return id
}

// dropRef takes a reference off the list; it reports whether it was there.
func (s *state) dropRef(id uint32) bool {
	for i := range s.refs {
		if s.refs[i].kind == refPtr && s.refs[i].id == id {
			s.refs = append(s.refs[:i], s.refs[i+1:]...)
			return true
		}
	}
	return false
}

// hasRef reports whether a reference is held.
func (s *state) hasRef(id uint32) bool {
	for i := range s.refs {
		if s.refs[i].kind == refPtr && s.refs[i].id == id {
			return true
		}
	}
	return false
}

// release gives a reference back: whatever points to the object no longer does.
func (e *env) release(id uint32) bool {
	if !e.st.dropRef(id) {
		return false
	}
	e.st.eachReg(func(r *reg) {
		if r.ref == id {
			e.markInvalid(r)
		}
	})
	return true
}

// dropNonOwning takes away the pointers that a lock kept valid.
func (e *env) dropNonOwning() {
	e.st.eachReg(func(r *reg) {
		if r.typ.isNonOwningRef() {
			e.markInvalid(r)
		}
	})
}

// dropPktPointers takes away all pointers into the packet: it may have moved.
func (e *env) dropPktPointers() {
	e.st.eachReg(func(r *reg) {
		if r.typ.isPktAny() || r.typ.base() == ptrToMem && r.typ.has(dynSKB|dynXDP) {
			e.markInvalid(r)
		}
	})
}

// clearCallerSaved forgets R0–R5, as a call does.
func (e *env) clearCallerSaved(regs *[isa.RFP + 1]reg) {
	for r := isa.R0; r <= isa.R5; r++ {
		e.markNotInit(&regs[r])
		e.scratchReg(r)
	}
}

// checkResources demands that nothing is held where a path ends (check_resource_leak).
func (e *env) checkResources(exception, locksToo bool, what string) *Error {
	if exception || e.st.cur == 0 {
		var err *Error
		for i := range e.st.refs {
			r := &e.st.refs[i]
			if r.kind != refPtr || !exception && e.ops != nil && e.regs()[isa.R0].ref == r.id {
				continue // struct_ops programs may return an object: see checkReturn
			}
			if err == nil {
				err = e.refuse(errno.EINVAL, "Unreleased reference id=%d alloc_insn=%d", r.id, r.insn)
			} else {
				e.also(err, "Unreleased reference id=%d alloc_insn=%d", r.id, r.insn)
			}
		}
		if err != nil {
			return e.also(err, "%s would lead to reference leak", what)
		}
	}
	if !locksToo {
		return nil
	}
	switch {
	case e.st.activeLocks > 0:
		return e.refuse(errno.EINVAL, "%s cannot be used inside bpf_spin_lock-ed region", what)
	case e.st.irqID != 0:
		return e.refuse(errno.EINVAL, "%s cannot be used inside bpf_local_irq_save-ed region", what)
	case e.st.rcuLock:
		return e.refuse(errno.EINVAL, "%s cannot be used inside bpf_rcu_read_lock-ed region", what)
	case e.st.preempt > 0:
		return e.refuse(errno.EINVAL, "%s cannot be used inside bpf_preempt_disable-ed region", what)
	}
	return nil
}

// lockObject is what a lock's pointer lies in: the map, or the BTF of allocated objects.
func lockObject(r *reg) any {
	if r.typ == ptrToMapValue {
		return r.m
	}
	return r.btf.spec
}

// checkLock takes or gives back the spin lock that register n points to (process_spin_lock).
func (e *env) checkLock(n isa.Register, lock bool, kind refKind) *Error {
	r := &e.regs()[n]
	name, special := "bpf_spin", catalog.SpecialSpinLock
	if kind != refLock {
		name, special = "bpf_res_spin", catalog.SpecialResSpinLock
	}
	if !r.isConst() {
		return e.refuse(errno.EINVAL, "R%d doesn't have constant offset. %s_lock has to be at the constant offset", n, name)
	}
	where, owner := "local", "kptr"
	if r.typ == ptrToMapValue {
		where, owner = "map", r.m.Name
		if r.m.Value == nil && len(r.m.Special) == 0 {
			return e.refuse(errno.EINVAL, "map '%s' has to have BTF in order to use %s_lock", r.m.Name, name)
		}
	}
	f := findSpecial(r.specials(e), special)
	if f == nil {
		return e.refuse(errno.EINVAL, "%s '%s' has no valid %s_lock", where, owner, name)
	}
	if at := int64(r.bits.value) + int64(r.off); at != int64(f.Off) {
		return e.refuse(errno.EINVAL, "off %d doesn't point to 'struct %s_lock' that is at %d", at, name, f.Off)
	}
	st := e.st
	obj := lockObject(r)
	if lock {
		if kind == refLock && st.activeLocks > 0 {
			return e.refuse(errno.EINVAL, "Locking two bpf_spin_locks are not allowed")
		}
		if kind != refLock {
			for i := range st.refs {
				if l := &st.refs[i]; l.kind == refResLock || l.kind == refResLockIRQ {
					if l.id == r.id && l.obj == obj {
						return e.refuse(errno.EINVAL, "Acquiring the same lock again, AA deadlock detected")
					}
				} else if l.kind == refLock {
					return e.refuse(errno.EINVAL, "Cannot acquire bpf_res_spin_lock when bpf_spin_lock is held")
				}
			}
		}
		st.refs = append(st.refs, ref{kind: kind, id: r.id, insn: int32(e.insn), obj: obj})
		st.activeLocks++
		st.lockID, st.lockObj = r.id, obj
		return nil
	}
	if st.activeLocks == 0 {
		return e.refuse(errno.EINVAL, "%s_unlock without taking a lock", name)
	}
	at := -1
	for i := range st.refs {
		if l := &st.refs[i]; l.kind == kind && l.id == r.id && l.obj == obj {
			at = i
		}
	}
	if at < 0 {
		return e.refuse(errno.EINVAL, "%s_unlock of different lock", name)
	}
	if st.lockID != r.id || st.lockObj != obj {
		return e.refuse(errno.EINVAL, "%s_unlock cannot be out of order", name)
	}
	st.refs = append(st.refs[:at], st.refs[at+1:]...)
	st.activeLocks--
	st.lockID, st.lockObj = 0, nil
	for i := range st.refs { // the lock taken before this one
		if l := &st.refs[i]; l.kind == refLock || l.kind == refResLock || l.kind == refResLockIRQ {
			st.lockID, st.lockObj = l.id, l.obj
		}
	}
	e.dropNonOwning()
	return nil
}
