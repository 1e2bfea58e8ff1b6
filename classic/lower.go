package classic

// step is one instruction as the VM runs it, with all that can be known before
// a packet is there worked out: what its addressing mode means, where it jumps,
// and whether it can be done together with the next one.
type step struct {
	op     op
	size   uint8  // bytes a load takes
	jt, jf uint16 // index of the next step
	k      uint32
	k2     uint32 // constant of a jump that is part of the step
}

type op uint8

const (
	opLdAbsB op = iota
	opLdAbsH
	opLdAbsW
	opLdIndB
	opLdIndH
	opLdIndW
	opLdIndPcap // without wrapping around
	opLdFar     // at an offset above 0x7fffffff
	opLdAncillary
	opLdWord // of struct seccomp_data
	opLdLen
	opLdImm
	opLdMem
	opLdxLen
	opLdxImm
	opLdxMem
	opLdxMSH
	opLdxMSHFar
	opSt
	opStx
	opAddK
	opAddX
	opSubK
	opSubX
	opMulK
	opMulX
	opDivK
	opDivX
	opModK
	opModX
	opOrK
	opOrX
	opAndK
	opAndX
	opXorK
	opXorX
	opLshK
	opLshX
	opRshK
	opRshX
	opNeg
	opTax
	opTxa
	opJa
	opJaBack
	opJeqK
	opJgtK
	opJgeK
	opJsetK
	opJeqX
	opJgtX
	opJgeX
	opJsetX
	opRetK
	opRetA
	opLdAbsBJeq
	opLdAbsHJeq
	opLdAbsWJeq
	opLdAbsHJset
	opLdIndHJeq
)

// ops are the steps of codes whose meaning is the same wherever they stand.
var ops = map[uint16]op{
	LD | W | ABS: opLdAbsW, LD | H | ABS: opLdAbsH, LD | B | ABS: opLdAbsB,
	LD | W | IND: opLdIndW, LD | H | IND: opLdIndH, LD | B | IND: opLdIndB,
	LD | W | LEN: opLdLen, LD | IMM: opLdImm, LD | MEM: opLdMem,
	LDX | W | LEN: opLdxLen, LDX | IMM: opLdxImm, LDX | MEM: opLdxMem, LDX | B | MSH: opLdxMSH,
	ST: opSt, STX: opStx,
	ALU | ADD | K: opAddK, ALU | ADD | X: opAddX,
	ALU | SUB | K: opSubK, ALU | SUB | X: opSubX,
	ALU | MUL | K: opMulK, ALU | MUL | X: opMulX,
	ALU | DIV | K: opDivK, ALU | DIV | X: opDivX,
	ALU | MOD | K: opModK, ALU | MOD | X: opModX,
	ALU | OR | K: opOrK, ALU | OR | X: opOrX,
	ALU | AND | K: opAndK, ALU | AND | X: opAndX,
	ALU | XOR | K: opXorK, ALU | XOR | X: opXorX,
	ALU | LSH | K: opLshK, ALU | LSH | X: opLshX,
	ALU | RSH | K: opRshK, ALU | RSH | X: opRshX,
	ALU | NEG:     opNeg,
	JMP | JA:      opJa,
	JMP | JEQ | K: opJeqK, JMP | JEQ | X: opJeqX,
	JMP | JGT | K: opJgtK, JMP | JGT | X: opJgtX,
	JMP | JGE | K: opJgeK, JMP | JGE | X: opJgeX,
	JMP | JSET | K: opJsetK, JMP | JSET | X: opJsetX,
	RET | K: opRetK, RET | A: opRetA,
	MISC | TAX: opTax, MISC | TXA: opTxa,
}

// fused are steps that do a load and the jump behind it.
var fused = map[[2]op]op{
	{opLdAbsB, opJeqK}:  opLdAbsBJeq,
	{opLdAbsH, opJeqK}:  opLdAbsHJeq,
	{opLdAbsW, opJeqK}:  opLdAbsWJeq,
	{opLdAbsH, opJsetK}: opLdAbsHJset,
	{opLdIndH, opJeqK}:  opLdIndHJeq,
}

// lower turns a checked program into steps, one for each instruction.
func lower(prog []Instruction, m Machine) []step {
	code := make([]step, len(prog))
	for pc, ins := range prog {
		code[pc] = lowerOne(pc, ins, m)
	}
	// A step that takes the next instruction in leaves it where it is: a jump
	// may lead there.
	for pc := range len(code) - 1 {
		load, jump := &code[pc], &code[pc+1]
		if both, ok := fused[[2]op{load.op, jump.op}]; ok {
			load.op, load.k2, load.jt, load.jf = both, jump.k, jump.jt, jump.jf
		}
	}
	return code
}

func lowerOne(pc int, ins Instruction, m Machine) step {
	s := step{op: ops[ins.Code], k: ins.K}
	if row := ins.Row(); row.conditional() {
		s.jt, s.jf = uint16(pc+1+int(ins.Jt)), uint16(pc+1+int(ins.Jf))
	}
	switch s.op {
	case opLdAbsB, opLdIndB:
		s.size = 1
	case opLdAbsH, opLdIndH:
		s.size = 2
	case opLdAbsW, opLdIndW:
		s.size = 4
	}
	switch s.op {
	case opLdAbsB, opLdAbsH, opLdAbsW:
		switch {
		case m == Seccomp:
			s.op = opLdWord
		case m == Libpcap && ins.K >= 1<<31 && !pcapAncillary(ins):
			s.op, s.k = opRetK, 0
		case ancillaryOf(ins.K) != nil:
			s.op, s.k = opLdAncillary, ins.K-AncillaryOffset
		case ins.K >= 1<<31:
			s.op = opLdFar
		}
	case opLdIndB, opLdIndH, opLdIndW:
		if m == Libpcap {
			s.op = opLdIndPcap
		}
	case opLdxMSH:
		switch {
		case ins.K < 1<<31:
		case m == Libpcap:
			s.op, s.k = opRetK, 0
		default:
			s.op = opLdxMSHFar
		}
	case opLdLen:
		if m == Seccomp {
			s.op, s.k = opLdImm, SeccompDataSize
		}
	case opLdxLen:
		if m == Seccomp {
			s.op, s.k = opLdxImm, SeccompDataSize
		}
	case opLshK, opRshK:
		if m == Libpcap && ins.K >= 32 {
			s.op, s.k = opLdImm, 0
		}
	case opLshX, opRshX:
		s.k = 31
		if m == Libpcap {
			s.k = 0xffffffff
		}
	case opJa:
		target := jumpTarget(pc, ins.K)
		s.jt = uint16(target)
		if target <= pc {
			s.op = opJaBack
		}
	}
	return s
}

// pcapAncillary reports whether libpcap's interpreter knows the ancillary data
// an instruction loads. Of others it says that they lie outside the packet.
func pcapAncillary(ins Instruction) bool {
	return ins.Code == LD|B|ABS && (ins.K == VLANTag.K() || ins.K == VLANTagPresent.K())
}
