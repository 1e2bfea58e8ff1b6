package rewrite

import (
	"github.com/skep-bpf/skep/internal/verifier"
	"github.com/skep-bpf/skep/isa"
)

// Moments that a function told of by [Program.Traced] reports.
const (
	Entered = 0 // R1 points at its arguments and room for a result; R0 ≠ 0: the result is there, the function is left out
	Left    = 1 // the same with its result
)

// tracedCall is the offset that marks the call of a moment: no kernel function has one below zero.
const tracedCall = -1

// TracedCall reports whether a call is that of a moment, of which function.
func TracedCall(ins isa.Instruction) (fn int, moment int32, ok bool) {
	return int(ins.Imm >> 1), ins.Imm & 1, ins.Off == tracedCall
}

// TracedFunc is a function to be told of.
type TracedFunc struct {
	Index int // among the program's functions; not 0, which nothing in it calls
	Args  int // how many arguments are told
	Taken int // how many it takes; the others are told as zeroes
}

// Traced returns p with a function more for each of fns, behind all others, by which whoever
// calls it has it told of. All that was there stays where it is.
//
//	r10-8            result
//	r10-8-8n … -16   arguments
//
//	  store r1 … rn
//	  call Entered(first argument)
//	  if r0 != 0 goto out
//	  load those it takes
//	  call function
//	  store r0
//	  call Left(first argument)
//	out: r0 = result
//	  exit
func (p *Program) Traced(fns []TracedFunc) *Program {
	out := *p
	out.Insns = append([]isa.Instruction(nil), p.Insns...)
	out.Orig = append([]int32(nil), p.Orig...)
	out.First = append([]bool(nil), p.First...)
	out.Subprogs = append([]verifier.Subprog(nil), p.Subprogs...)
	to := map[int]int{} // starts of functions, and of those before them
	for _, f := range fns {
		own := p.Subprogs[f.Index]
		at := len(out.Insns)
		to[own.Start] = at
		out.Insns = append(out.Insns, tracing(f, own.Start-at)...)
		for range len(out.Insns) - at {
			out.Orig, out.First = append(out.Orig, p.Orig[own.Start]), append(out.First, false)
		}
		own.Start, own.End, own.StackDepth = at, len(out.Insns), 8+8*f.Args
		out.Subprogs = append(out.Subprogs, own)
	}
	for pc := 0; pc < len(p.Insns); pc++ {
		ins := &out.Insns[pc]
		next := pc + 1
		switch {
		case ins.IsLoadImm64():
			pc++
			if ins.Src != isa.PseudoFunc {
				continue
			}
		case !ins.IsLocalCall():
			continue
		}
		if at, ok := to[next+int(ins.Imm)]; ok {
			ins.Imm = int32(at - next)
		}
	}
	return &out
}

// tracing is the function before f, which begins delta slots from it.
func tracing(f TracedFunc, delta int) []isa.Instruction {
	first := int16(-8 - 8*f.Args)
	point := []isa.Instruction{isa.Mov64Reg(isa.R1, isa.RFP), isa.ALU64Imm(isa.Add, isa.R1, int32(first))}
	moment := func(m int32) isa.Instruction { return isa.KfuncCall(int32(f.Index)<<1|m, tracedCall) }
	var code []isa.Instruction
	for i := range f.Args {
		if at := first + int16(8*i); i < f.Taken {
			code = append(code, isa.StoreMem(isa.DW, isa.RFP, isa.R1+isa.Register(i), at))
		} else {
			code = append(code, isa.StoreImm(isa.DW, isa.RFP, at, 0))
		}
	}
	code = append(code, point...)
	code = append(code, moment(Entered), isa.JmpImm(isa.Jne, isa.R0, 0, int16(f.Taken+5)))
	for i := range f.Taken {
		code = append(code, isa.LoadMem(isa.DW, isa.R1+isa.Register(i), isa.RFP, first+int16(8*i)))
	}
	code = append(code, isa.LocalCall(int32(delta-len(code)-1)), isa.StoreMem(isa.DW, isa.RFP, isa.R0, -8))
	code = append(code, point...)
	return append(code, moment(Left), isa.LoadMem(isa.DW, isa.R0, isa.RFP, -8), isa.ExitInsn())
}
