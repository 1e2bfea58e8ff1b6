package verifier

import (
	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/isa"
)

// Kernel pointers kept in map values: plain ones may be read and stored but not
// trusted, referenced ones change hands through bpf_kptr_xchg.

// rcuTypes are the kernel's structs that RCU keeps while a program looks at them.
var rcuTypes = set("prog_test_ref_kfunc cgroup bpf_cpumask task_struct bpf_crypto_ctx")

// kptrTarget is the type a field points to: the kernel's, or else the program's own.
func (e *env) kptrTarget(f *catalog.SpecialField) (*btfType, *Error) {
	if t := e.kernelStruct(f.BTF); t != nil {
		return t, nil
	}
	var s *btf.Struct
	if e.p.BTF == nil || e.p.BTF.TypeByName(f.BTF, &s) != nil {
		return nil, e.unsupported("pointers to struct %s, which the kernel's BTF does not have", f.BTF)
	}
	t := e.intern(e.p.BTF, s)
	for _, f := range e.structSpecials(t) {
		if f.Kind == catalog.SpecialListNode || f.Kind == catalog.SpecialRBNode {
			return nil, e.unsupported("pointers to nodes of lists and trees in map values")
		}
	}
	return t, nil
}

// accessKptr loads or stores a pointer in a map value (check_map_kptr_access).
func (e *env) accessKptr(a access, f *catalog.SpecialField) *Error {
	ins := e.insns[e.insn]
	class := ins.Op.Class()
	if ins.Op.Mode() != isa.ModeMEM {
		return e.refuse(errno.EACCES, "kptr in map can only be accessed using BPF_MEM instruction mode")
	}
	switch {
	case class != isa.ClassLDX && (f.Kind == catalog.SpecialKptrRef || f.Kind == catalog.SpecialKptrPerCPU):
		return e.refuse(errno.EACCES, "store to referenced kptr disallowed")
	case class != isa.ClassLDX && f.Kind == catalog.SpecialUptr:
		return e.refuse(errno.EACCES, "store to uptr disallowed")
	case class == isa.ClassLDX:
		return e.loadKptr(a, f)
	case class == isa.ClassSTX:
		r := &e.regs()[ins.Src]
		if r.isNull() {
			return e.markPrecise(ins.Src)
		}
		t, err := e.kptrTarget(f)
		if err == nil {
			err = e.checkKptrMatch(ins.Src, r, f, t)
		}
		if err != nil {
			err.Errno = errno.EACCES
		}
		return err
	case class == isa.ClassST:
		if ins.Imm != 0 {
			return e.refuse(errno.EACCES, "BPF_ST imm must be 0 when storing to kptr at off=%d", f.Off)
		}
		return nil
	}
	return e.refuse(errno.EACCES, "kptr in map can only be accessed using BPF_LDX/BPF_STX/BPF_ST")
}

func (e *env) loadKptr(a access, f *catalog.SpecialField) *Error {
	t, err := e.kptrTarget(f)
	if err != nil || a.val == noReg {
		return err
	}
	dst := &e.regs()[a.val]
	if f.Kind == catalog.SpecialUptr {
		size, serr := btf.Sizeof(t.typ)
		if serr != nil {
			return e.silent(errno.EINVAL)
		}
		dst.setPtr(ptrToMem | mayBeNull)
		dst.size, dst.id = uint32(size), e.newID()
		return nil
	}
	flags := untrusted
	safe := f.Kind == catalog.SpecialKptrPerCPU || f.Kind == catalog.SpecialKptrRef && (!t.kernel || rcuTypes[t.name])
	if safe && e.inRCU() {
		flags = rcu
		if f.Kind == catalog.SpecialKptrPerCPU {
			flags |= perCPUMem
		} else if !t.kernel {
			flags |= allocMem
		}
	}
	dst.setPtr(ptrToBTF | mayBeNull | flags)
	dst.btf, dst.id = t, e.newID()
	return nil
}

// checkKptrMatch demands a pointer that may be kept in a field (map_kptr_match_type).
func (e *env) checkKptrMatch(n isa.Register, r *reg, f *catalog.SpecialField, t *btfType) *Error {
	plain, perCPU := f.Kind == catalog.SpecialKptrUnref, f.Kind == catalog.SpecialKptrPerCPU
	name := ""
	ok := r.typ.base() == ptrToBTF
	if ok {
		may := mayBeNull | allocMem
		switch {
		case r.btf.kernel && plain:
			may = mayBeNull | trusted | rcu | untrusted
		case r.btf.kernel:
			may = mayBeNull | trusted | rcu
		case perCPU:
			may |= perCPUMem
		}
		ok = r.typ&^0xff&^may == 0 && perCPU == r.typ.has(perCPUMem)
	}
	if ok {
		name = r.btf.name
		if err := e.checkFixedOff(r, n, true); err != nil {
			err.Errno = errno.EACCES
			return err
		}
		ok = e.structMatches(r.btf, r.off, t, !plain)
	}
	if ok {
		return nil
	}
	or := ""
	if plain {
		or = " or " + (ptrToBTF | untrusted).String() + t.name
	}
	return e.refuse(errno.EINVAL, "invalid kptr access, R%d type=%s%s expected=%s%s%s", n, r.typ, name, ptrToBTF, t.name, or)
}

// checkKptrDest finds the field that bpf_kptr_xchg changes (process_kptr_func).
func (e *env) checkKptrDest(n isa.Register, r *reg, meta *callMeta) *Error {
	if r.typ.base() == ptrToBTF {
		return e.unsupported("kernel pointers in allocated objects")
	}
	if r.m.Value == nil {
		return e.refuse(errno.EINVAL, "map '%s' has to have BTF in order to use bpf_kptr_xchg", r.m.Name)
	}
	meta.m, meta.mapUID = r.m, r.mapUID
	if !r.isConst() {
		return e.refuse(errno.EINVAL, "R%d doesn't have constant offset. kptr has to be at the constant offset", n)
	}
	any := false
	at := int64(r.off) + int64(r.bits.value)
	for i := range r.m.Special {
		f := &r.m.Special[i]
		if !isKptr(f.Kind) {
			continue
		}
		any = true
		if int64(f.Off) != at {
			continue
		}
		if f.Kind != catalog.SpecialKptrRef && f.Kind != catalog.SpecialKptrPerCPU {
			return e.refuse(errno.EACCES, "off=%d kptr isn't referenced kptr", at)
		}
		t, err := e.kptrTarget(f)
		meta.kptr, meta.kptrSpec = f, t
		return err
	}
	if !any {
		return e.refuse(errno.EINVAL, "R%d has no valid kptr", n)
	}
	return e.refuse(errno.EACCES, "off=%d doesn't point to kptr", at)
}

// kptrResult gives R0 the pointer that was in the field.
func (e *env) kptrResult(r0 *reg, meta *callMeta, flags regType) {
	r0.setPtr(ptrToBTF | flags)
	r0.btf = meta.kptrSpec
	if !r0.btf.kernel {
		r0.typ |= allocMem
		if meta.kptr.Kind == catalog.SpecialKptrPerCPU {
			r0.typ |= perCPUMem
		}
	}
}
