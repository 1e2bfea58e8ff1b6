package verifier

import (
	"slices"
	"strings"

	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/isa"
)

const maxUsedMaps = 64

// resolveLoads looks up what 64-bit loads name and refuses opcodes that do not
// exist (resolve_pseudo_ldimm64).
func (e *env) resolveLoads() *Error {
	for i := 0; i < len(e.insns); i++ {
		ins := e.insns[i]
		e.insn = i
		if ins.Op.Class() == isa.ClassLDX && (ins.Op.Mode() != isa.ModeMEM && ins.Op.Mode() != isa.ModeMEMSX || ins.Imm != 0) {
			return e.refuse(errno.EINVAL, "BPF_LDX uses reserved fields")
		}
		if !ins.IsLoadImm64() {
			if !validOpcode(ins.Op) {
				return e.refuse(errno.EINVAL, "unknown opcode %02x", uint8(ins.Op))
			}
			continue
		}
		if i+1 >= len(e.insns) || e.insns[i+1].Op != 0 || e.insns[i+1].Dst != 0 || e.insns[i+1].Src != 0 || e.insns[i+1].Off != 0 {
			return e.refuse(errno.EINVAL, "invalid bpf_ld_imm64 insn")
		}
		var err *Error
		switch ins.Src {
		case 0:
		case isa.PseudoBTFID:
			err = e.resolveVar(i)
		case isa.PseudoFunc:
		case isa.PseudoMapFD, isa.PseudoMapIdx:
			if e.insns[i+1].Imm != 0 {
				return e.refuse(errno.EINVAL, "unrecognized bpf_ld_imm64 insn")
			}
			err = e.resolveMap(i)
		case isa.PseudoMapValue, isa.PseudoMapIdxValue:
			err = e.resolveMap(i)
		default:
			return e.refuse(errno.EINVAL, "unrecognized bpf_ld_imm64 insn")
		}
		if err != nil {
			return err
		}
		i++
	}
	e.insn = -1
	return nil
}

// useBound takes the maps that the program is bound to (process_fd_array).
func (e *env) useBound() *Error {
	for _, m := range e.p.Bound {
		if err := e.useMap(m); err != nil {
			return err
		}
	}
	return nil
}

// useMap notes a map of the program's (__add_used_map).
func (e *env) useMap(m *catalog.MapDef) *Error {
	if slices.Contains(e.usedMaps, m) {
		return nil
	}
	if len(e.usedMaps) >= maxUsedMaps {
		return e.refuse(errno.E2BIG, "The total number of maps per program has reached the limit of %d", maxUsedMaps)
	}
	if err := e.checkMapUse(m); err != nil {
		return err
	}
	e.usedMaps = append(e.usedMaps, m)
	if m.Inner != nil {
		if e.inner == nil {
			e.inner = make(map[*catalog.MapDef]bool)
		}
		e.inner[m.Inner] = true
	}
	if m.Type == catalog.MapArena {
		switch {
		case e.arena != nil:
			return e.refuse(errno.EBUSY, "Only one arena per program")
		case !e.priv:
			return e.refuse(errno.EPERM, "CAP_BPF and CAP_PERFMON are required to use arena")
		}
		e.arena = m
	}
	return nil
}

func (e *env) resolveMap(i int) *Error {
	ins := e.insns[i]
	byIdx := ins.Src == isa.PseudoMapIdx || ins.Src == isa.PseudoMapIdxValue
	value := ins.Src == isa.PseudoMapValue || ins.Src == isa.PseudoMapIdxValue
	find := e.p.MapByFD
	if byIdx {
		if find = e.p.MapByIdx; find == nil {
			return e.refuse(errno.EPROTO, "fd_idx without fd_array is invalid")
		}
	}
	var m *catalog.MapDef
	if find != nil {
		m = find(ins.Imm)
	}
	if m == nil {
		return e.refuse(errno.EBADF, "fd %d is not pointing to valid bpf_map", ins.Imm)
	}
	if err := e.useMap(m); err != nil {
		return err
	}
	a := &e.aux[i]
	a.m = m
	if value {
		off := uint32(e.insns[i+1].Imm)
		if off >= maxVarOff {
			return e.refuse(errno.EINVAL, "direct value offset of %d is not allowed", off)
		}
		if m.Type != catalog.MapArray && m.Type != catalog.MapArena {
			return e.refuse(errno.EINVAL, "no direct value access support for this map type")
		}
		if m.Type == catalog.MapArray && m.MaxEntries != 1 {
			return e.refuse(errno.ENOTSUPP, "invalid access to map value pointer, value_size=%d off=%d", m.ValueSize, off)
		}
		if m.Type == catalog.MapArray && off >= m.ValueSize {
			return e.refuse(errno.EINVAL, "invalid access to map value pointer, value_size=%d off=%d", m.ValueSize, off)
		}
		a.mapOff = off
	}
	return nil
}

// resolveVar finds a kernel variable, or function, by its BTF id (check_pseudo_btf_id).
func (e *env) resolveVar(i int) *Error {
	ins := e.insns[i]
	if e.insns[i+1].Imm != 0 {
		return e.unsupported("variables of kernel modules")
	}
	if e.p.KernelBTF == nil {
		return e.refuse(errno.EINVAL, "kernel is missing BTF, make sure CONFIG_DEBUG_INFO_BTF=y is specified in Kconfig.")
	}
	t, err := e.p.KernelBTF.TypeByID(btf.TypeID(ins.Imm))
	if err != nil {
		return e.refuse(errno.ENOENT, "ldimm64 insn specifies invalid btf_id %d.", ins.Imm)
	}
	if name := t.TypeName(); e.p.HasSymbol != nil && !e.p.HasSymbol(name) {
		switch t.(type) {
		case *btf.Func, *btf.Var:
			return e.refuse(errno.ENOENT, "ldimm64 failed to find the address for kernel symbol '%s'.", name)
		}
	}
	r := new(reg)
	e.aux[i].btfVar = r
	switch t := t.(type) {
	case *btf.Func:
		r.setPtr(ptrToMem | rdonly)
		return nil
	case *btf.Var:
		target := btf.UnderlyingType(t.Type)
		switch {
		case e.isPerCPUVar(t):
			r.setPtr(ptrToBTF | perCPUMem)
			r.btf = e.intern(e.p.KernelBTF, target)
		default:
			if _, _, ok := members(target); ok {
				r.setPtr(ptrToBTF)
				r.btf = e.intern(e.p.KernelBTF, target)
				return nil
			}
			size, err := btf.Sizeof(target)
			if err != nil {
				return e.refuse(errno.EINVAL, "ldimm64 unable to resolve the size of type '%s': %d", t.Name, -22)
			}
			r.setPtr(ptrToMem | rdonly)
			r.size = uint32(size)
		}
		return nil
	}
	return e.refuse(errno.EINVAL, "pseudo btf_id %d in ldimm64 isn't KIND_VAR or KIND_FUNC", ins.Imm)
}

// isPerCPUVar reports whether the kernel has v once per CPU.
func (e *env) isPerCPUVar(v *btf.Var) bool {
	var sec *btf.Datasec
	if err := e.p.KernelBTF.TypeByName(".data..percpu", &sec); err != nil {
		return false
	}
	for _, s := range sec.Vars {
		if x, ok := s.Type.(*btf.Var); ok && (x == v || x.Name == v.Name) {
			return true
		}
	}
	return false
}

// validOpcode reports whether an opcode exists, other fields aside (bpf_opcode_in_insntable).
func validOpcode(op isa.Opcode) bool {
	switch op.Class() {
	case isa.ClassALU, isa.ClassALU64:
		switch op.ALUOp() {
		case isa.Neg:
			return !op.UsesReg()
		case isa.End:
			return op.Class() == isa.ClassALU || !op.UsesReg()
		}
		return op.ALUOp() < isa.End
	case isa.ClassJMP:
		switch op.JumpOp() {
		case isa.Ja, isa.Call, isa.Exit, isa.Jcond:
			return !op.UsesReg()
		}
		return op.JumpOp() < isa.Jcond
	case isa.ClassJMP32:
		switch op.JumpOp() {
		case isa.Call, isa.Exit, isa.Jcond:
			return false
		case isa.Ja:
			return !op.UsesReg()
		}
		return op.JumpOp() < isa.Jcond
	case isa.ClassLD:
		return (op.Mode() == isa.ModeABS || op.Mode() == isa.ModeIND) && op.SizeBits() != isa.DW
	case isa.ClassLDX:
		return op.Mode() == isa.ModeMEM || op.Mode() == isa.ModeMEMSX && op.SizeBits() != isa.DW
	case isa.ClassST:
		return op.Mode() == isa.ModeMEM
	}
	return op.Mode() == isa.ModeMEM || op.Mode() == isa.ModeATOMIC
}

// exceptionCallbackSlot returns where the function that the main program's
// decl tag names as its exception callback starts, or 0 (bpf_find_exception_callback_insn_off).
func (e *env) exceptionCallbackSlot() (int, *Error) {
	if len(e.p.Funcs) == 0 || e.p.Funcs[0].Func == nil {
		return 0, nil
	}
	name := ""
	for _, tag := range e.p.Funcs[0].Func.Tags {
		if rest, ok := strings.CutPrefix(tag, "exception_callback:"); ok {
			if name != "" {
				return 0, e.refuse(errno.EEXIST, "multiple exception callback tags for main subprog")
			}
			name = rest
		}
	}
	if name == "" {
		return 0, nil
	}
	for _, f := range e.p.Funcs {
		if f.Func == nil || f.Func.Name != name {
			continue
		}
		if f.Func.Linkage != btf.GlobalFunc {
			return 0, e.refuse(errno.EINVAL, "exception callback '%s' must have global linkage", name)
		}
		if f.Slot == 0 {
			return 0, e.refuse(errno.EINVAL, "invalid exception callback insn_off in func_info: 0")
		}
		return f.Slot, nil
	}
	return 0, e.refuse(errno.EINVAL, "exception callback type id not found in func_info")
}

// checkAttach checks what the program attaches to (check_attach_btf_id).
func (e *env) checkAttach() *Error {
	if e.p.Flags&flagSleepable != 0 && (e.ext || e.facts.kind.Flags&catalog.Sleepable == 0 ||
		e.p.Type == catalog.ProgTracing && e.p.Attach == catalog.AttachTraceRawTp) {
		return e.refuse(errno.EINVAL, "Only fentry/fexit/fmod_ret, lsm, iter, uprobe, and struct_ops programs can be sleepable")
	}
	if e.p.Type == catalog.ProgSyscall && e.p.Flags&flagSleepable == 0 {
		return e.refuse(errno.EINVAL, "Syscall programs can only be sleepable")
	}
	if e.ext {
		return e.findReplaced()
	}
	switch e.p.Type {
	case catalog.ProgStructOps:
		return e.findMember()
	case catalog.ProgTracing, catalog.ProgLSM:
		return e.findTarget()
	}
	return nil
}
