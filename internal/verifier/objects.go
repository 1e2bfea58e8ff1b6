package verifier

import (
	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/isa"
)

// Objects of the program's own types: bpf_obj_new makes them, lists and trees
// in map values or in other objects take them over.
//
//	owning reference         r.ref != 0: to be dropped, stored or inserted
//	  │ push, add
//	  ▼
//	non-owning reference     nonOwnRef: to be read while the lock is held
//	  │ pop, remove
//	  ▼
//	owning reference

// maxPerCPUObject is the largest object that bpf_percpu_obj_new makes, in bytes.
const maxPerCPUObject = 512

// progStruct finds a struct of the program's BTF by name, or nil.
func (e *env) progStruct(name string) *btfType {
	if e.p.BTF == nil {
		return nil
	}
	var s *btf.Struct
	if e.p.BTF.TypeByName(name, &s) != nil {
		return nil
	}
	return e.intern(e.p.BTF, s)
}

// nodeOf returns the type of a list's or tree's elements and the offset of the
// node in them.
func (e *env) nodeOf(root *catalog.SpecialField) (*btfType, uint32) {
	t := e.progStruct(root.BTF)
	if t == nil {
		return nil, 0
	}
	ms, _, _ := members(t.typ)
	for _, m := range ms {
		if m.Name == root.Node {
			return t, m.Offset.Bytes()
		}
	}
	return nil, 0
}

// specialAt returns the special field of one of the kinds at an offset of what r points into.
func (e *env) specialAt(r *reg, off uint32, kind catalog.SpecialKind) *catalog.SpecialField {
	fs := r.specials(e)
	for i := range fs {
		if fs[i].Off == off && fs[i].Kind == kind {
			return &fs[i]
		}
	}
	return nil
}

// kfuncAllocated checks an object that is to be freed.
func (e *env) kfuncAllocated(n isa.Register, r *reg, meta *kfuncMeta) *Error {
	switch r.typ {
	case ptrToBTF | allocMem:
		if meta.k.effect != effectObjDrop {
			return e.refuse(errno.EINVAL, "arg#%d expected for bpf_obj_drop_impl()", n-1)
		}
	case ptrToBTF | allocMem | perCPUMem:
		if meta.k.effect != effectPerCPUObjDrop {
			return e.refuse(errno.EINVAL, "arg#%d expected for bpf_percpu_obj_drop_impl()", n-1)
		}
	default:
		return e.refuse(errno.EINVAL, "arg#%d expected pointer to allocated object", n-1)
	}
	if r.ref == 0 {
		return e.refuse(errno.EINVAL, "allocated object must be referenced")
	}
	return nil
}

// kfuncRefcounted checks an object of which another reference is wanted.
func (e *env) kfuncRefcounted(n isa.Register, r *reg, meta *kfuncMeta) *Error {
	if !r.typ.isAllocObj() {
		return e.refuse(errno.EINVAL, "arg#%d is neither owning or non-owning ref", n-1)
	}
	if !r.typ.isNonOwningRef() && r.ref != 0 {
		meta.owning = true
	}
	if findSpecial(r.specials(e), catalog.SpecialRefcount) == nil {
		return e.refuse(errno.EINVAL, "arg#%d doesn't point to a type with bpf_refcount field", n-1)
	}
	meta.object = r.btf
	return nil
}

// kfuncRoot checks the head of a list or the root of a tree: its lock must be held.
func (e *env) kfuncRoot(n isa.Register, r *reg, kind catalog.SpecialKind, meta *kfuncMeta) *Error {
	if r.typ != ptrToMapValue && r.typ != ptrToBTF|allocMem {
		return e.refuse(errno.EINVAL, "arg#%d expected pointer to map value or allocated object", n-1)
	}
	if r.typ == ptrToBTF|allocMem && r.ref == 0 {
		return e.refuse(errno.EINVAL, "allocated object must be referenced")
	}
	name := specialNames[kind]
	if !r.isConst() {
		return e.refuse(errno.EINVAL, "R%d doesn't have constant offset. %s has to be at the constant offset", n, name)
	}
	off := uint32(r.off) + uint32(r.bits.value)
	f := e.specialAt(r, off, kind)
	if f == nil {
		return e.refuse(errno.EINVAL, "%s not found at offset=%d", name, off)
	}
	if err := e.checkLocked(r, name); err != nil {
		return err
	}
	meta.root = f
	return nil
}

// checkLocked demands that the lock beside a list or tree is held (check_reg_allocation_locked).
func (e *env) checkLocked(r *reg, name string) *Error {
	at := int32(-int32(errno.EINVAL))
	if f := findSpecial(r.specials(e), catalog.SpecialSpinLock); f != nil {
		at = int32(f.Off)
	}
	notHeld := func() *Error {
		return e.refuse(errno.EINVAL, "bpf_spin_lock at off=%d must be held for %s", at, name)
	}
	if e.st.activeLocks == 0 {
		return notHeld()
	}
	obj := lockObject(r)
	for i := range e.st.refs {
		if l := &e.st.refs[i]; l.kind.isLock() && l.id == r.id && l.obj == obj {
			return nil
		}
	}
	e.logf("held lock and object are not in the same allocation\n")
	err := notHeld()
	err.Lines = append([]string{"held lock and object are not in the same allocation"}, err.Lines...)
	return err
}

func (k refKind) isLock() bool { return k == refLock || k == refResLock || k == refResLockIRQ }

// kfuncListNode and kfuncTreeNode check what goes into, or is in, a list or tree.
func (e *env) kfuncListNode(n isa.Register, r *reg, meta *kfuncMeta) *Error {
	if err := e.kfuncOwned(n, r); err != nil {
		return err
	}
	return e.kfuncNode(n, r, catalog.SpecialListHead, catalog.SpecialListNode, meta)
}

func (e *env) kfuncTreeNode(n isa.Register, r *reg, meta *kfuncMeta) *Error {
	if meta.k.effect == effectTreeAdd {
		if err := e.kfuncOwned(n, r); err != nil {
			return err
		}
	} else {
		if !r.typ.isNonOwningRef() && r.ref == 0 {
			return e.refuse(errno.EINVAL, "%s can only take non-owning or refcounted bpf_rb_node pointer", meta.k.name)
		}
		if e.inTreeCallback() {
			return e.refuse(errno.EINVAL, "%s not allowed in rbtree cb", meta.k.name)
		}
	}
	return e.kfuncNode(n, r, catalog.SpecialRBRoot, catalog.SpecialRBNode, meta)
}

func (e *env) kfuncOwned(n isa.Register, r *reg) *Error {
	if r.typ != ptrToBTF|allocMem {
		return e.refuse(errno.EINVAL, "arg#%d expected pointer to allocated object", n-1)
	}
	if r.ref == 0 {
		return e.refuse(errno.EINVAL, "allocated object must be referenced")
	}
	return nil
}

// kfuncNode checks that a node is of the type that the list or tree holds, at
// the place it has in it.
func (e *env) kfuncNode(n isa.Register, r *reg, rootKind, kind catalog.SpecialKind, meta *kfuncMeta) *Error {
	name := specialNames[kind]
	if !r.isConst() {
		return e.refuse(errno.EINVAL, "R%d doesn't have constant offset. %s has to be at the constant offset", n, name)
	}
	off := uint32(r.off) + uint32(r.bits.value)
	if e.specialAt(r, off, kind) == nil {
		return e.refuse(errno.EINVAL, "%s not found at offset=%d", name, off)
	}
	if meta.root == nil {
		return e.silent(errno.EINVAL, "a node without the list or tree it belongs to")
	}
	want, at := e.nodeOf(meta.root)
	if want == nil {
		return e.silent(errno.EFAULT, "the element type of a list or tree is not known")
	}
	if !e.structMatches(r.btf, 0, want, true) {
		return e.refuse(errno.EINVAL, "operation on %s expects arg#1 %s at offset=%d in struct %s, but arg is at offset=%d in struct %s",
			specialNames[rootKind], name, at, want.name, off, r.btf.name)
	}
	meta.object = r.btf
	if off != at {
		return e.refuse(errno.EINVAL, "arg#1 offset=%d, but expected %s at offset=%d in struct %s", off, name, at, want.name)
	}
	return nil
}

// inTreeCallback reports whether the function that compares nodes of a tree, or
// one that it calls, is being followed: the tree's lock is held there.
func (e *env) inTreeCallback() bool {
	for i := e.st.cur; i > 0; i-- {
		f := e.st.frames[i]
		if !f.inCallback || f.callSite < 0 {
			continue
		}
		if k := e.aux[f.callSite].kfunc; k != nil && k.effect.onTree() {
			return true
		}
	}
	return false
}

// setNode makes r a pointer to the node of an element of a list or tree.
func (e *env) setNode(r *reg, root *catalog.SpecialField) *Error {
	t, off := e.nodeOf(root)
	if t == nil {
		return e.silent(errno.EFAULT, "the element type of a list or tree is not known")
	}
	r.setPtr(ptrToBTF | allocMem)
	r.btf, r.off = t, int32(off)
	return nil
}

// setNonOwning makes r a reference that lasts as long as the lock is held (ref_set_non_owning).
func (e *env) setNonOwning(r *reg) *Error {
	if e.st.activeLocks == 0 {
		return e.refuse(errno.EFAULT, "verifier bug: ref_set_non_owning w/o active lock")
	}
	r.typ |= nonOwnRef
	if findSpecial(r.specials(e), catalog.SpecialRefcount) != nil {
		r.typ |= rcu
	}
	return nil
}

// disown turns all owning references to an object into non-owning ones: a
// list or tree has it now (ref_convert_owning_non_owning).
func (e *env) disown(meta *kfuncMeta) *Error {
	id := e.regs()[isa.R2].ref
	found := false
	for i := range e.st.refs {
		found = found || e.st.refs[i].kind == refPtr && e.st.refs[i].id == id
	}
	if id == 0 || !found {
		return e.refuse(errno.EINVAL, "kfunc %s#%d reference has not been acquired before", meta.k.name, e.insns[e.insn].Imm)
	}
	var err *Error
	e.st.eachReg(func(r *reg) {
		if r.ref == id && err == nil {
			r.ref = 0
			err = e.setNonOwning(r)
		}
	})
	if err == nil {
		e.release(id)
	}
	return err
}

// lessArgs gives the function that compares nodes two of them.
func (e *env) lessArgs(root *catalog.SpecialField) func(caller, callee *frame) *Error {
	return func(_, callee *frame) *Error {
		for n := isa.R1; n <= isa.R2; n++ {
			if err := e.setNode(&callee.regs[n], root); err != nil {
				return err
			}
			if err := e.setNonOwning(&callee.regs[n]); err != nil {
				return err
			}
		}
		callee.asCallback()
		return nil
	}
}

// objectResult gives R0 the object a kfunc of this file returns.
func (e *env) objectResult(r0 *reg, meta *kfuncMeta) *Error {
	switch meta.k.effect {
	case effectObjNew, effectPerCPUObjNew:
		return e.newObject(r0, meta)
	case effectRefcountAcquire:
		r0.setPtr(ptrToBTF | allocMem)
		r0.btf = meta.object
		return nil
	}
	return e.setNode(r0, meta.root)
}

// newObject gives R0 an object of the type whose id was passed.
func (e *env) newObject(r0 *reg, meta *kfuncMeta) *Error {
	perCPU := meta.k.effect == effectPerCPUObjNew
	if meta.constVal != uint64(uint32(meta.constVal)) {
		return e.refuse(errno.EINVAL, "local type ID argument must be in range [0, U32_MAX]")
	}
	if e.p.BTF == nil || len(e.p.Funcs)+len(e.p.Lines) == 0 { // types alone do not come with a program
		return e.refuse(errno.EINVAL, "bpf_obj_new/bpf_percpu_obj_new requires prog BTF")
	}
	var s *btf.Struct
	if t, err := e.p.BTF.TypeByID(btf.TypeID(meta.constVal)); err == nil {
		s, _ = t.(*btf.Struct)
	}
	if s == nil {
		return e.refuse(errno.EINVAL, "bpf_obj_new/bpf_percpu_obj_new type ID argument must be of a struct")
	}
	t := e.intern(e.p.BTF, s)
	r0.setPtr(ptrToBTF | allocMem)
	r0.btf = t
	if !perCPU {
		return nil
	}
	r0.typ |= perCPUMem
	switch {
	case s.Size > maxPerCPUObject:
		return e.refuse(errno.EINVAL, "bpf_percpu_obj_new type size (%d) is greater than %d", s.Size, maxPerCPUObject)
	case !isScalarType(s, 0):
		return e.refuse(errno.EINVAL, "bpf_percpu_obj_new type ID argument must be of a struct of scalars")
	case len(e.structSpecials(t)) > 0:
		return e.refuse(errno.EINVAL, "bpf_percpu_obj_new type ID argument must not contain special fields")
	}
	return nil
}
