package verifier

import (
	"encoding/binary"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/isa"
)

// checkMapAccess demands that programs may read or write values of the map
// (check_map_access_type).
func (e *env) checkMapRights(m *catalog.MapDef, off, size int, write bool) *Error {
	if write && m.Flags&catalog.FlagRdonlyProg != 0 {
		return e.refuse(errno.EACCES, "write into map forbidden, value_size=%d off=%d size=%d", m.ValueSize, off, size)
	}
	if !write && m.Flags&catalog.FlagWronlyProg != 0 {
		return e.refuse(errno.EACCES, "read from map forbidden, value_size=%d off=%d size=%d", m.ValueSize, off, size)
	}
	return nil
}

func isKptr(k catalog.SpecialKind) bool {
	switch k {
	case catalog.SpecialKptrUnref, catalog.SpecialKptrRef, catalog.SpecialKptrPerCPU, catalog.SpecialUptr:
		return true
	}
	return false
}

var specialNames = map[catalog.SpecialKind]string{
	catalog.SpecialSpinLock: "bpf_spin_lock", catalog.SpecialResSpinLock: "bpf_res_spin_lock",
	catalog.SpecialTimer: "bpf_timer", catalog.SpecialWorkqueue: "bpf_wq", catalog.SpecialTaskWork: "bpf_task_work",
	catalog.SpecialKptrUnref: "kptr", catalog.SpecialKptrRef: "kptr", catalog.SpecialKptrPerCPU: "percpu_kptr",
	catalog.SpecialUptr: "uptr", catalog.SpecialListHead: "bpf_list_head", catalog.SpecialListNode: "bpf_list_node",
	catalog.SpecialRBRoot: "bpf_rb_root", catalog.SpecialRBNode: "bpf_rb_node", catalog.SpecialRefcount: "bpf_refcount",
}

// checkMapValue keeps an access inside the value and off its special fields (check_map_access).
func (e *env) checkMapValue(n isa.Register, off, size int, zeroOK, helper bool) *Error {
	r := &e.regs()[n]
	if err := e.checkRegion(n, off, size, r.m.ValueSize, zeroOK); err != nil {
		return err
	}
	for i := range r.m.Special {
		f := &r.m.Special[i]
		if r.smin+int64(off) >= int64(f.Off+f.Size) || uint64(f.Off) >= r.umax+uint64(off)+uint64(size) {
			continue
		}
		if !isKptr(f.Kind) {
			return e.refuse(errno.EACCES, "%s cannot be accessed directly by load/store", specialNames[f.Kind])
		}
		at := uint64(off) + r.bits.value
		switch {
		case helper:
			return e.refuse(errno.EACCES, "%s cannot be accessed indirectly by helper", specialNames[f.Kind])
		case !r.isConst():
			return e.refuse(errno.EACCES, "%s access cannot have variable offset", specialNames[f.Kind])
		case uint64(f.Off) != at:
			return e.refuse(errno.EACCES, "%s access misaligned expected=%d off=%d", specialNames[f.Kind], f.Off, at)
		case size != regSize:
			return e.refuse(errno.EACCES, "%s access size must be BPF_DW", specialNames[f.Kind])
		}
	}
	return nil
}

func (e *env) accessMapValue(a access, r *reg, off int) *Error {
	if err := e.checkLeak(a, "map"); err != nil {
		return err
	}
	if err := e.checkMapRights(r.m, off, a.size, a.write); err != nil {
		return err
	}
	if err := e.checkMapValue(a.ptr, off, a.size, false, false); err != nil {
		return err
	}
	if r.isConst() {
		at := uint32(off) + uint32(r.bits.value)
		for i := range r.m.Special {
			if f := &r.m.Special[i]; f.Off == at && isKptr(f.Kind) {
				return e.accessKptr(a, f)
			}
		}
	}
	if a.write || a.val == noReg {
		return nil
	}
	dst := &e.regs()[a.val]
	if v, ok := e.constFromMap(r, off, a.size, a.sx); ok {
		dst.setConst(v)
		dst.precise = !e.capable
		return nil
	}
	e.markUnknown(dst)
	e.narrow(a)
	return nil
}

// constFromMap reads what a frozen read-only map holds for ever (bpf_map_direct_read).
func (e *env) constFromMap(r *reg, off, size int, sx bool) (uint64, bool) {
	m := r.m
	if !r.isConst() || m.ReadConst == nil || m.Flags&catalog.FlagRdonlyProg == 0 {
		return 0, false
	}
	var b [8]byte
	if !m.ReadConst(uint32(off)+uint32(r.bits.value), b[:size]) {
		return 0, false
	}
	v := binary.LittleEndian.Uint64(b[:])
	if sx {
		v = uint64(signExtend(int64(v), size))
	}
	return v, true
}
