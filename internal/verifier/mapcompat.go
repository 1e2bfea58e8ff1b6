package verifier

import (
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/isa"
)

// checkMapHelper refuses helpers on maps they are not for (check_map_func_compatibility).
func (e *env) checkMapHelper(m *catalog.MapDef, id catalog.HelperID) *Error {
	if m == nil || e.facts.kind.HelperTakesMap(catalog.HelperByID(id), m.Type, e.p.Attach) {
		return nil
	}
	if isSockMap(m) && (id == catalog.FnMapUpdateElem || id == catalog.FnMapDeleteElem) {
		e.logf("cannot update sockmap in this context\n")
	}
	return e.refuse(errno.EINVAL, "cannot pass map_type %d into func %s#%d", m.Type, id, id)
}

// checkMapUse refuses maps that programs of this type cannot have (check_map_prog_compatibility).
func (e *env) checkMapUse(m *catalog.MapDef) *Error {
	if m.Exclusive != nil && *m.Exclusive != isa.Digest(e.p.Insns) {
		return e.refuse(errno.EACCES, "program's hash doesn't match map's excl_prog_hash")
	}
	tracing := e.facts.kind.Flags&catalog.Tracing != 0
	has := func(k catalog.SpecialKind) bool { return findSpecial(m.Special, k) != nil }
	if tracing && (has(catalog.SpecialListHead) || has(catalog.SpecialRBRoot)) {
		return e.refuse(errno.EINVAL, "tracing progs cannot use bpf_{list_head,rb_root} yet")
	}
	if has(catalog.SpecialSpinLock) || has(catalog.SpecialResSpinLock) {
		if e.p.Type == catalog.ProgSocketFilter {
			return e.refuse(errno.EINVAL, "socket filter progs cannot use bpf_spin_lock yet")
		}
		if tracing {
			return e.refuse(errno.EINVAL, "tracing progs cannot use bpf_spin_lock yet")
		}
	}
	if tracing && has(catalog.SpecialTimer) {
		return e.refuse(errno.EINVAL, "tracing progs cannot use bpf_timer yet")
	}
	if tracing && has(catalog.SpecialWorkqueue) {
		return e.refuse(errno.EINVAL, "tracing progs cannot use bpf_wq yet")
	}
	if m.Type == catalog.MapStructOps {
		return e.refuse(errno.EINVAL, "bpf_struct_ops map cannot be used in prog")
	}
	if e.p.Flags&flagSleepable == 0 {
		return nil
	}
	if k := catalog.MapKindByType(m.Type); k != nil && k.Traits&catalog.SleepableProgs != 0 {
		return nil
	}
	return e.refuse(errno.EINVAL, "Sleepable programs can only use array, hash, ringbuf and local storage maps")
}
