package verifier

import (
	"sort"

	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/isa"
)

func isPseudoFunc(ins isa.Instruction) bool {
	return ins.IsLoadImm64() && ins.Src == isa.PseudoFunc
}

// findSubprogs lists the functions: the main program, the targets of local
// calls and of function loads, and the exception callback (add_subprog_and_kfunc).
func (e *env) findSubprogs() *Error {
	starts := map[int]bool{0: true}
	add := func(at int) *Error {
		if at < 0 || at >= len(e.insns) {
			return e.refuse(errno.EINVAL, "call to invalid destination")
		}
		if !starts[at] && len(starts) >= maxSubprogs {
			return e.refuse(errno.E2BIG, "too many subprograms")
		}
		starts[at] = true
		return nil
	}
	for i, ins := range e.insns {
		local := isPseudoFunc(ins) || ins.IsLocalCall()
		if !local && !ins.IsKfuncCall() {
			continue
		}
		if !e.capable {
			return e.refuse(errno.EPERM, "loading/calling other bpf or kernel functions are allowed for CAP_BPF and CAP_SYS_ADMIN")
		}
		var err *Error
		if local {
			err = add(i + int(ins.Imm) + 1)
		} else {
			err = e.addKfunc(ins)
		}
		if err != nil {
			return err
		}
	}
	cb, err := e.exceptionCallbackSlot()
	if err == nil && cb > 0 {
		err = add(cb)
	}
	if err != nil {
		return err
	}
	for at := range starts {
		e.subs = append(e.subs, subprog{start: at})
	}
	sort.Slice(e.subs, func(i, j int) bool { return e.subs[i].start < e.subs[j].start })
	for i := range e.subs {
		s := &e.subs[i]
		s.end = len(e.insns)
		if i+1 < len(e.subs) {
			s.end = e.subs[i+1].start
		}
		if cb > 0 && s.start == cb {
			e.exceptionCB = i
			s.isCB, s.isAsyncCB, s.isException = true, true, true
		}
		if e.level2 {
			e.logf("func#%d @%d\n", i, s.start)
		}
	}
	return nil
}

// subprogOf returns the index of the function that contains slot at.
func (e *env) subprogOf(at int) int {
	return sort.Search(len(e.subs), func(i int) bool { return e.subs[i].start > at }) - 1
}

// subprogAt returns the index of the function that starts at slot at, or -1.
func (e *env) subprogAt(at int) int {
	if i := e.subprogOf(at); i >= 0 && e.subs[i].start == at {
		return i
	}
	return -1
}

// checkSubprogs demands that jumps stay inside their function and that no
// function runs into the next.
func (e *env) checkSubprogs() *Error {
	for i := range e.subs {
		s := &e.subs[i]
		for at := s.start; at < s.end; at++ {
			ins := e.insns[at]
			cls := ins.Op.Class()
			if ins.Op == opCall && ins.Src == 0 && ins.Imm == fnTailCall {
				s.hasTail, s.tailReach = true, true
			}
			if cls == isa.ClassLD && (ins.Op.Mode() == isa.ModeABS || ins.Op.Mode() == isa.ModeIND) {
				s.hasLDAbs = true
			}
			if op := ins.Op.JumpOp(); cls.IsJump() && op != isa.Exit && op != isa.Call {
				if to := at + ins.JumpOffset() + 1; to < s.start || to >= s.end {
					e.insn = at
					return e.refuse(errno.EINVAL, "jump out of range from insn %d to %d", at, to)
				}
			}
		}
		if op := e.insns[s.end-1].Op; op != opExit && op != opGotol && op != opJa {
			e.insn = s.end - 1
			return e.refuse(errno.EINVAL, "last insn is not an exit or jmp")
		}
	}
	return nil
}

// checkFuncInfo matches the program's BTF functions with its code (check_btf_func).
func (e *env) checkFuncInfo() *Error {
	if e.p.Funcs == nil {
		for i := 1; i < len(e.subs); i++ {
			if e.subs[i].hasLDAbs {
				return e.refuse(errno.EINVAL, "LD_ABS is not allowed in subprogs without BTF")
			}
			if e.subs[i].hasTail {
				return e.refuse(errno.EINVAL, "tail_call is not allowed in subprogs without BTF")
			}
		}
		return nil
	}
	if len(e.p.Funcs) != len(e.subs) {
		return e.refuse(errno.EINVAL, "number of funcs in func_info doesn't match number of subprogs")
	}
	for i := range e.subs {
		s, f := &e.subs[i], e.p.Funcs[i]
		if f.Slot != s.start {
			return e.refuse(errno.EINVAL, "func_info BTF section doesn't match subprog layout in BPF program")
		}
		if f.Func == nil {
			return e.refuse(errno.EINVAL, "invalid type id in func info")
		}
		s.fn, s.name = f.Func, f.Func.Name
		s.global = f.Func.Linkage == btf.GlobalFunc
		proto, _ := f.Func.Type.(*btf.FuncProto)
		if proto == nil {
			return e.refuse(errno.EINVAL, "invalid type id in func info")
		}
		switch btf.UnderlyingType(proto.Return).(type) {
		case *btf.Int, *btf.Enum:
			s.retInt = true
		}
		if i > 0 && !s.retInt && s.hasLDAbs {
			return e.refuse(errno.EINVAL, "LD_ABS is only allowed in functions that return 'int'.")
		}
		if i > 0 && !s.retInt && s.hasTail {
			return e.refuse(errno.EINVAL, "tail_call is only allowed in functions that return 'int'.")
		}
	}
	return nil
}
