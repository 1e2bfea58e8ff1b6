package verifier

import (
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
)

// accessBTF checks a load or store through a pointer to a kernel struct or an
// allocated object (check_ptr_to_btf_access).
func (e *env) accessBTF(a access, r *reg, off int) *Error {
	t := r.btf
	n := a.ptr
	switch {
	case !e.priv:
		return e.refuse(errno.EPERM, "'struct %s' access is allowed only to CAP_PERFMON and CAP_SYS_ADMIN", t.name)
	case !e.p.GPL && t.kernel:
		return e.refuse(errno.EINVAL, "Cannot access kernel 'struct %s' from non-GPL compatible program", t.name)
	case off < 0:
		return e.refuse(errno.EACCES, "R%d is ptr_%s invalid negative access: off=%d", n, t.name, off)
	case !r.bits.is(0):
		return e.refuse(errno.EACCES, "R%d is ptr_%s invalid variable offset: off=%d, var_off=%s", n, t.name, off, r.bits)
	case r.typ.has(userMem):
		return e.refuse(errno.EACCES, "R%d is ptr_%s access user memory: off=%d", n, t.name, off)
	case r.typ.has(perCPUMem):
		return e.refuse(errno.EACCES, "R%d is ptr_%s access percpu memory: off=%d", n, t.name, off)
	case a.write && r.typ.has(untrusted):
		return e.refuse(errno.EACCES, "only read is supported")
	case a.write && !r.typ.isAllocObj():
		return e.accessKernelStore(a, r, off)
	}
	if r.typ.isAllocObj() {
		for _, f := range e.structSpecials(t) {
			if off < int(f.Off+f.Size) && int(f.Off) < off+a.size {
				return e.refuse(errno.EACCES, "direct access to %s is disallowed", specialNames[f.Kind])
			}
		}
	}
	f, err := e.walkStruct(t.typ, off, a.size, t.name)
	if err != nil {
		return err
	}
	if a.write || a.val == noReg {
		return nil
	}
	dst := &e.regs()[a.val]
	if f.plain && !r.typ.isAllocObj() {
		dst.setPtr(ptrToMem | rdonly | untrusted | f.flags)
		return nil
	}
	if f.typ == nil || r.typ.isAllocObj() {
		e.markUnknown(dst)
		e.narrow(a)
		return nil
	}
	flags := e.fieldTrust(r, f)
	next := e.intern(t.spec, f.typ)
	dst.setPtr(ptrToBTF | flags)
	dst.btf = next
	if flags.mayBeNull() {
		dst.id = e.newID()
	}
	return nil
}

// fieldTrust is how far a pointer loaded through another is trusted.
func (e *env) fieldTrust(r *reg, f structField) regType {
	flags := f.flags
	switch {
	case r.typ.has(untrusted):
		return untrusted
	case r.isTrusted() || r.typ.has(rcu):
		switch safe := safeFields[r.btf.name][f.name]; {
		case safe == fieldTrusted:
			return flags | trusted
		case safe == fieldTrustedOrNull:
			return flags | trusted | mayBeNull
		case e.inRCU() && !r.mayBeNull():
			switch {
			case safe == fieldRCU:
				return flags | rcu
			case safe == fieldRCUOrNull:
				return (flags | rcu | mayBeNull) &^ untrusted
			case flags.has(rcu):
				return flags | rcu | mayBeNull
			case flags.has(perCPUMem | userMem):
				return flags
			default:
				return flags &^ (trustedFlags | rcu)
			}
		default:
			return untrusted
		}
	}
	return flags &^ (trustedFlags | rcu)
}

// How a struct's field may be trusted beyond what type tags say.
type fieldSafety uint8

const (
	fieldPlain fieldSafety = iota
	fieldRCU
	fieldRCUOrNull
	fieldTrusted
	fieldTrustedOrNull
)

// safeFields lists the kernel's BTF_TYPE_SAFE_* structs.
var safeFields = map[string]map[string]fieldSafety{
	"task_struct":         {"cpus_ptr": fieldRCU, "cgroups": fieldRCU, "real_parent": fieldRCU, "group_leader": fieldRCU},
	"cgroup":              {"kn": fieldRCU},
	"css_set":             {"dfl_cgrp": fieldRCU},
	"cgroup_subsys_state": {"cgroup": fieldRCU},
	"mm_struct":           {"exe_file": fieldRCUOrNull},
	"sk_buff":             {"sk": fieldRCUOrNull},
	"request_sock":        {"sk": fieldRCUOrNull},
	"bpf_iter_meta":       {"seq": fieldTrusted},
	"bpf_iter__task":      {"meta": fieldTrusted, "task": fieldTrusted},
	"linux_binprm":        {"file": fieldTrusted},
	"file":                {"f_inode": fieldTrusted},
	"dentry":              {"d_inode": fieldTrustedOrNull},
	"socket":              {"sk": fieldTrustedOrNull},
	"vm_area_struct":      {"vm_mm": fieldTrustedOrNull, "vm_file": fieldTrustedOrNull},
}

// accessKernelStore checks a store into a kernel struct, which few program types may make.
func (e *env) accessKernelStore(a access, r *reg, off int) *Error {
	if e.ops != nil && len(e.ops.row.Writes) > 0 {
		return e.storeOps(a, r, off)
	}
	switch e.p.Type {
	case catalog.ProgXDP, catalog.ProgSchedCls, catalog.ProgSchedAct:
		if t := e.kernelStruct("nf_conn"); t != nil && (r.btf == t || r.btf.name == "nf_conn___init") {
			return e.storeConntrack(a, t, off)
		}
	}
	return e.refuse(errno.EACCES, "only read is supported")
}

// storeConntrack allows a connection's mark to be written (nfct_btf_struct_access).
func (e *env) storeConntrack(a access, t *btfType, off int) *Error {
	ms, _, _ := members(t.typ)
	for _, m := range ms {
		if m.Name != "mark" || off != int(m.Offset.Bytes()) {
			continue
		}
		end := off + 4
		if off+a.size > end {
			return e.refuse(errno.EACCES, "write access at off %d with size %d beyond the member of nf_conn ended at %d", off, a.size, end)
		}
		return nil
	}
	return e.refuse(errno.EACCES, "no write support to nf_conn at off %d", off)
}

// mapStructs are the kernel's structs of map types.
var mapStructs = map[catalog.MapType]string{
	catalog.MapHash: "bpf_htab", catalog.MapPerCPUHash: "bpf_htab", catalog.MapLRUHash: "bpf_htab",
	catalog.MapLRUPerCPUHash: "bpf_htab", catalog.MapHashOfMaps: "bpf_htab",
	catalog.MapArray: "bpf_array", catalog.MapPerCPUArray: "bpf_array", catalog.MapProgArray: "bpf_array",
	catalog.MapPerfEventArray: "bpf_array", catalog.MapCGroupArray: "bpf_array", catalog.MapArrayOfMaps: "bpf_array",
	catalog.MapLPMTrie: "lpm_trie", catalog.MapStackTrace: "bpf_stack_map", catalog.MapQueue: "bpf_queue_stack",
	catalog.MapStack: "bpf_queue_stack", catalog.MapRingBuf: "bpf_ringbuf_map", catalog.MapUserRingBuf: "bpf_ringbuf_map",
	catalog.MapBloomFilter: "bpf_bloom_filter", catalog.MapDevMap: "bpf_dtab", catalog.MapDevMapHash: "bpf_dtab",
	catalog.MapCPUMap: "bpf_cpu_map", catalog.MapXSKMap: "xsk_map", catalog.MapSockMap: "bpf_stab",
	catalog.MapSockHash: "bpf_shtab", catalog.MapReuseportSockarray: "reuseport_array", catalog.MapArena: "bpf_arena",
	catalog.MapSkStorage: "bpf_local_storage_map", catalog.MapInodeStorage: "bpf_local_storage_map",
	catalog.MapTaskStorage: "bpf_local_storage_map", catalog.MapCGrpStorage: "bpf_local_storage_map",
	catalog.MapCGroupStorage: "bpf_cgroup_storage_map", catalog.MapPerCPUCGroupStorage: "bpf_cgroup_storage_map",
}

// accessMapPtr checks a load of the map's own struct (check_ptr_to_map_access).
func (e *env) accessMapPtr(a access, r *reg, off int) *Error {
	if e.p.KernelBTF == nil {
		return e.refuse(errno.ENOTSUPP, "map_ptr access not supported without CONFIG_DEBUG_INFO_BTF")
	}
	t := e.kernelStruct(mapStructs[r.m.Type])
	if t == nil {
		return e.refuse(errno.ENOTSUPP, "map_ptr access not supported for map type %d", r.m.Type)
	}
	switch {
	case !e.priv:
		return e.refuse(errno.EPERM, "'struct %s' access is allowed only to CAP_PERFMON and CAP_SYS_ADMIN", t.name)
	case off < 0:
		return e.refuse(errno.EACCES, "R%d is %s invalid negative access: off=%d", a.ptr, t.name, off)
	case a.write:
		return e.refuse(errno.EACCES, "only read from %s is supported", t.name)
	}
	f, err := e.walkStruct(t.typ, off, a.size, t.name)
	if err != nil || a.val == noReg {
		return err
	}
	dst := &e.regs()[a.val]
	if f.plain {
		dst.setPtr(ptrToMem | rdonly | untrusted | f.flags)
		return nil
	}
	if f.typ == nil {
		e.markUnknown(dst)
		e.narrow(a)
		return nil
	}
	dst.setPtr(ptrToBTF | f.flags&^(trustedFlags|rcu))
	dst.btf = e.intern(t.spec, f.typ)
	return nil
}
