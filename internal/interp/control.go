package interp

import "github.com/skep-bpf/skep/isa"

// tailCall is the id of bpf_tail_call.
const tailCall = 12

// rare carries out the instruction before vm.pc, one of those that exec leaves
// to it, and reports whether the run goes on in this exec: at vm.pc, in vm.code.
func (vm *VM) rare() bool {
	r := &vm.reg
	ins := &vm.code[vm.pc-1]
	dst, src := &r[ins.Dst&15], &r[ins.Src&15]
	switch ins.Op {
	case probeB, probeH, probeW, probeDW:
		*dst = probe(at(*src, ins), ins.Op.Bytes())
	case probesB, probesH, probesW:
		size := ins.Op.Bytes()
		*dst = sext(probe(at(*src, ins), size), int16(8*size))
	case absB, absH, absW, indB, indH, indW:
		return vm.loadPacket(ins)
	case atomicDW:
		atomic64(r, ins)
	case atomicW:
		atomic32(r, ins)
	case atomicB, atomicH:
		atomicNarrow(r, ins)
	case isa.OpNospec: // the interpreter itself is not guarded
	case opGotol:
		vm.pc += int(ins.Imm)
		return vm.spend(-int(ins.Imm))
	case opMayGoto:
		return vm.mayGoto(ins)
	case opCall:
		return vm.callOut(ins)
	case opReturn:
		return vm.leave()
	default:
		panic("BUG: interp: opcode that Prepare should have refused")
	}
	return true
}

// loadPacket is LD_ABS and LD_IND; a packet that is too short ends the function with 0.
func (vm *VM) loadPacket(ins *isa.Instruction) bool {
	off := ins.Imm
	if ins.Op.Mode() == isa.ModeIND {
		off += int32(vm.reg[ins.Src&15])
	}
	v, ok := vm.services.LoadPacket(off, ins.Op.Bytes())
	vm.reg[isa.R0] = uint64(v)
	return ok || vm.leave()
}

// mayGoto jumps once the frame has gone through its share of such loops.
func (vm *VM) mayGoto(ins *isa.Instruction) bool {
	f := &vm.frames[vm.depth]
	if f.mayGoto == 0 {
		vm.pc += int(ins.Off)
		return vm.spend(-int(ins.Off))
	}
	f.mayGoto--
	return true
}

// callOut is every kind of call.
func (vm *VM) callOut(ins *isa.Instruction) bool {
	r := &vm.reg
	switch ins.Src {
	case isa.CallLocal:
		target := vm.pc + int(ins.Imm)
		p := vm.frames[vm.depth].prog
		return vm.spend(p.lengthAt(target)) && vm.push(p, target, vm.pc)
	case isa.CallKfunc:
		pc := vm.pc
		r[isa.R0] = vm.services.Kfunc(*ins, r[1], r[2], r[3], r[4], r[5])
		vm.pc = pc
		return vm.unwind == nil
	}
	pc := vm.pc
	r[isa.R0] = vm.services.Helper(ins.Imm, r[1], r[2], r[3], r[4], r[5])
	vm.pc = pc // callbacks have moved it
	if ins.Imm == tailCall && vm.unwind == nil {
		vm.replace()
	}
	return vm.unwind == nil
}

// leave returns from the current function.
func (vm *VM) leave() bool {
	f := &vm.frames[vm.depth]
	vm.pc = f.ret
	vm.pop()
	if vm.depth < vm.floor {
		return false
	}
	if caller := vm.frames[vm.depth].prog; caller != f.prog {
		vm.code = caller.Insns
		vm.services.Running(caller)
	}
	return true
}

// replace puts the program that bpf_tail_call chose in the place of the current
// function, unless the run has made [isa.MaxTailCalls] already. The callers'
// frames stay: the new program returns to them.
func (vm *VM) replace() {
	next := vm.services.TailCall()
	if next == nil || vm.tailCalls >= isa.MaxTailCalls {
		return
	}
	vm.tailCalls++
	f := &vm.frames[vm.depth]
	f.prog, f.mayGoto = next, mayGotoBudget
	vm.pc, vm.code = 0, next.Insns
	vm.clearFrame(f, 0)
	if vm.checker != nil {
		vm.checker.replaced(vm)
	}
	vm.services.Running(next)
}
