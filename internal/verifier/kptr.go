package verifier

import (
	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/isa"
)

// pointee is the type a kernel pointer in a map value or object points to: one
// of the kernel's, else of the program's own.
func (e *env) pointee(f *catalog.SpecialField) *btfType {
	if t := e.kernelStruct(f.BTF); t != nil && f.Kind != catalog.SpecialUptr {
		return t
	}
	return e.progStruct(f.BTF)
}

// rcuProtected are the kernel's structs that RCU keeps from being freed.
var rcuProtected = set("prog_test_ref_kfunc cgroup bpf_cpumask task_struct bpf_crypto_ctx")

// kptrLoaded is how far a pointer loaded from a field is trusted (btf_ld_kptr_type).
func (e *env) kptrLoaded(f *catalog.SpecialField, t *btfType) regType {
	safe := f.Kind == catalog.SpecialKptrPerCPU || f.Kind == catalog.SpecialKptrRef && (!t.kernel || rcuProtected[t.name])
	if !safe || !e.inRCU() {
		return mayBeNull | untrusted
	}
	flags := mayBeNull | rcu
	switch {
	case f.Kind == catalog.SpecialKptrPerCPU:
		flags |= perCPUMem
	case !t.kernel:
		flags |= allocMem
	}
	fs := e.structSpecials(t)
	if findSpecial(fs, catalog.SpecialListNode) != nil || findSpecial(fs, catalog.SpecialRBNode) != nil {
		flags |= nonOwnRef
	}
	return flags
}

// accessKptr loads or stores a kernel pointer in a map value (check_map_kptr_access).
func (e *env) accessKptr(a access, f *catalog.SpecialField) *Error {
	ins := e.insns[e.insn]
	cls := ins.Op.Class()
	if ins.Op.Mode() != isa.ModeMEM {
		return e.refuse(errno.EACCES, "kptr in map can only be accessed using BPF_MEM instruction mode")
	}
	if cls != isa.ClassLDX {
		switch f.Kind {
		case catalog.SpecialKptrRef, catalog.SpecialKptrPerCPU:
			return e.refuse(errno.EACCES, "store to referenced kptr disallowed")
		case catalog.SpecialUptr:
			return e.refuse(errno.EACCES, "store to uptr disallowed")
		}
	}
	t := e.pointee(f)
	if t == nil {
		return e.silent(errno.EFAULT, "the type that a kptr points to is not known")
	}
	switch cls {
	case isa.ClassLDX:
		if a.val == noReg {
			return nil
		}
		dst := &e.regs()[a.val]
		if f.Kind == catalog.SpecialUptr {
			size, _ := btf.Sizeof(t.typ)
			dst.setPtr(ptrToMem | mayBeNull)
			dst.size = uint32(size)
		} else {
			dst.setPtr(ptrToBTF | e.kptrLoaded(f, t))
			dst.btf = t
		}
		dst.id = e.newID()
	case isa.ClassSTX:
		v := &e.regs()[a.val]
		if v.isNull() {
			return e.markPrecise(a.val)
		}
		return e.checkKptrMatch(a.val, v, f, t)
	case isa.ClassST:
		if ins.Imm != 0 {
			return e.refuse(errno.EACCES, "BPF_ST imm must be 0 when storing to kptr at off=%d", f.Off)
		}
	default:
		return e.refuse(errno.EACCES, "kptr in map can only be accessed using BPF_LDX/BPF_STX/BPF_ST")
	}
	return nil
}

// checkKptrMatch demands that what is stored is what the field points to (map_kptr_match_type).
func (e *env) checkKptrMatch(n isa.Register, r *reg, f *catalog.SpecialField, t *btfType) *Error {
	bad := func(name string) *Error {
		also := ""
		if f.Kind == catalog.SpecialKptrUnref {
			also = " or " + (ptrToBTF | untrusted).String() + t.name
		}
		return e.refuse(errno.EACCES, "invalid kptr access, R%d type=%s%s expected=%s%s%s", n, r.typ, name, ptrToBTF, t.name, also)
	}
	if r.typ.base() != ptrToBTF {
		return bad("")
	}
	perm := mayBeNull | trusted | rcu
	if r.btf.kernel {
		if f.Kind == catalog.SpecialKptrUnref {
			perm |= untrusted
		}
	} else {
		perm = mayBeNull | allocMem
		if f.Kind == catalog.SpecialKptrPerCPU {
			perm |= perCPUMem
		}
	}
	if r.typ.flags()&^perm != 0 || (f.Kind == catalog.SpecialKptrPerCPU) != r.typ.has(perCPUMem) {
		return bad("")
	}
	if err := e.checkFixedOff(r, n, true); err != nil {
		return err
	}
	if !e.structMatches(r.btf, r.off, t, f.Kind != catalog.SpecialKptrUnref) {
		return bad(r.btf.name)
	}
	return nil
}

// checkKptrDest demands the address of a referenced pointer field, for
// bpf_kptr_xchg (process_kptr_func).
func (e *env) checkKptrDest(n isa.Register, r *reg, meta *callMeta) *Error {
	if !r.typ.isAllocObj() {
		if r.m.Value == nil && len(r.m.Special) == 0 {
			return e.refuse(errno.EINVAL, "map '%s' has to have BTF in order to use bpf_kptr_xchg", r.m.Name)
		}
		meta.m = r.m
	}
	if !r.isConst() {
		return e.refuse(errno.EINVAL, "R%d doesn't have constant offset. kptr has to be at the constant offset", n)
	}
	off := uint32(r.off) + uint32(r.bits.value)
	fs := r.specials(e)
	any := false
	for i := range fs {
		f := &fs[i]
		if f.Kind == catalog.SpecialUptr || !isKptr(f.Kind) {
			continue
		}
		any = true
		if f.Off != off {
			continue
		}
		if f.Kind == catalog.SpecialKptrUnref {
			return e.refuse(errno.EACCES, "off=%d kptr isn't referenced kptr", off)
		}
		meta.kptr, meta.kptrType = f, e.pointee(f)
		if meta.kptrType == nil {
			return e.silent(errno.EFAULT, "the type that a kptr points to is not known")
		}
		return nil
	}
	if !any {
		return e.refuse(errno.EINVAL, "R%d has no valid kptr", n)
	}
	return e.refuse(errno.EACCES, "off=%d doesn't point to kptr", off)
}

// kptrResult gives R0 the pointer that bpf_kptr_xchg took out of the field.
func kptrResult(r0 *reg, flags regType, meta *callMeta) {
	r0.setPtr(ptrToBTF | flags)
	r0.btf = meta.kptrType
	if !meta.kptrType.kernel {
		r0.typ |= allocMem
		if meta.kptr.Kind == catalog.SpecialKptrPerCPU {
			r0.typ |= perCPUMem
		}
	}
}
