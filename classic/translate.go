package classic

import (
	"errors"
	"fmt"
	"math"

	"github.com/skep-bpf/skep/isa"
)

// Where a translated program keeps what the classic machine has: the registers
// that the kernel's own translation uses (bpf_convert_filter).
const (
	regA   = isa.R0
	regCtx = isa.R6 // where legacy packet loads look for it
	regX   = isa.R7
	regTmp = isa.R2
)

// Offsets of fields of struct __sk_buff.
const (
	skbLen         = 0
	skbPktType     = 4
	skbMark        = 8
	skbQueue       = 12
	skbProtocol    = 16
	skbVLANPresent = 20
	skbVLANTCI     = 24
	skbVLANProto   = 28
	skbIfindex     = 40
	skbHash        = 68
)

// Helpers that translated programs call (bpf_func_id).
const (
	helperRandom    = 7  // bpf_get_prandom_u32
	helperCPU       = 8  // bpf_get_smp_processor_id
	helperLoadBytes = 26 // bpf_skb_load_bytes
)

// What a translation fails with, for errors.Is.
var (
	// ErrNoField: the ancillary data is not to be had from struct __sk_buff.
	ErrNoField = errors.New("eBPF programs cannot ask for it")
	// ErrTooFar: more instructions lie between a jump and its target than eBPF's jumps reach.
	ErrTooFar = errors.New("jump too far for eBPF")
)

// Translate turns a program into one of the extended machine: of type
// socket_filter, or, for [Seccomp], any type whose context is plain memory, here
// struct seccomp_data. It returns what the classic program returns; instructions
// that no path leads to are left out, as eBPF's verifier refuses them.
//
// It follows the kernel's own translation: A in r0, X in r7, both cleared on
// entry, the context in r6, M[k] at r10-4k-4, a division by an X of zero returns
// 0. Packet loads become legacy loads, and ancillary loads reads of the context
// or helper calls. The kernel's can look into the device and calls functions of
// its own: the device's hardware type and the payload's offset cannot be
// translated (ErrNoField).
func Translate(prog []Instruction, m Machine) ([]isa.Instruction, error) {
	if err := Check(prog, m); err != nil {
		return nil, err
	}
	t := &translator{prog: prog, machine: m, start: make([]int, len(prog))}
	t.emit(isa.Mov32Imm(regA, 0), isa.Mov32Imm(regX, 0), isa.Mov64Reg(regCtx, isa.R1))
	if m == Libpcap {
		t.clearScratch()
	}
	reached := reachable(prog)
	for pc, ins := range prog {
		t.start[pc] = len(t.out)
		if !reached[pc] {
			continue
		}
		if err := t.instruction(pc, ins); err != nil {
			return nil, fmt.Errorf("instruction %d: %w", pc, err)
		}
	}
	if err := t.link(); err != nil {
		return nil, err
	}
	return t.out, nil
}

// translator collects a program. Within what one classic instruction becomes,
// jumps are written with their distances; those to other classic instructions
// are linked at the end.
type translator struct {
	prog    []Instruction
	machine Machine
	out     []isa.Instruction
	start   []int // of each classic instruction
	links   []branch
}

// branch is a jump to a classic instruction.
type branch struct{ slot, from, to int }

func (t *translator) emit(ins ...isa.Instruction) { t.out = append(t.out, ins...) }

// jump emits a jump to the classic instruction to.
func (t *translator) jump(ins isa.Instruction, from, to int) {
	t.links = append(t.links, branch{len(t.out), from, to})
	t.emit(ins)
}

func (t *translator) link() error {
	for _, b := range t.links {
		distance := t.start[b.to] - b.slot - 1
		if distance < math.MinInt16 || distance > math.MaxInt16 {
			return fmt.Errorf("instruction %d: %w: %d instructions", b.from, ErrTooFar, distance)
		}
		t.out[b.slot].Off = int16(distance)
	}
	return nil
}

// reachable says which instructions some path leads to.
func reachable(prog []Instruction) []bool {
	seen := make([]bool, len(prog))
	work := []int{0}
	for len(work) > 0 {
		pc := work[len(work)-1]
		work = work[:len(work)-1]
		if seen[pc] {
			continue
		}
		seen[pc] = true
		ins := prog[pc]
		switch {
		case ins.Row().conditional():
			work = append(work, pc+1+int(ins.Jt), pc+1+int(ins.Jf))
		case ins.Class() == JMP:
			work = append(work, jumpTarget(pc, ins.K))
		case ins.Class() != RET:
			work = append(work, pc+1)
		}
	}
	return seen
}

// slotAt is where scratch slot k lies, from r10.
func slotAt(k uint32) int16 { return -int16(4*k + 4) }

// clearScratch gives libpcap's programs the zeroes they may read.
func (t *translator) clearScratch() {
	var used [MemWords]bool
	for _, ins := range t.prog {
		if ins.Row().K == Slot {
			used[ins.K] = true
		}
	}
	for k, u := range used {
		if u {
			t.emit(isa.StoreMem(isa.W, isa.R10, regA, slotAt(uint32(k))))
		}
	}
}

func (t *translator) instruction(pc int, ins Instruction) error {
	switch ins.Class() {
	case LD:
		return t.load(ins)
	case LDX:
		t.loadX(ins)
	case ST:
		t.emit(isa.StoreMem(isa.W, isa.R10, regA, slotAt(ins.K)))
	case STX:
		t.emit(isa.StoreMem(isa.W, isa.R10, regX, slotAt(ins.K)))
	case ALU:
		t.compute(ins)
	case JMP:
		t.branch(pc, ins)
	case RET:
		if ins.Code&RvalMask == K {
			t.emit(isa.Mov32Imm(regA, int32(ins.K)))
		}
		t.emit(isa.ExitInsn())
	case MISC:
		if ins.Code&MiscMask == TAX {
			t.emit(isa.Mov64Reg(regX, regA))
		} else {
			t.emit(isa.Mov64Reg(regA, regX))
		}
	}
	return nil
}

// field emits a load of the context's 32 bits at off.
func (t *translator) field(to isa.Register, off int) {
	t.emit(isa.LoadMem(isa.W, to, regCtx, int16(off)))
}

// length emits a load of the packet's length.
func (t *translator) length(to isa.Register) {
	if t.machine == Seccomp {
		t.emit(isa.Mov32Imm(to, SeccompDataSize))
		return
	}
	t.field(to, skbLen)
}

// returnZero ends the program with 0.
func (t *translator) returnZero() { t.emit(isa.Mov32Imm(regA, 0), isa.ExitInsn()) }

func (t *translator) load(ins Instruction) error {
	size := isa.Opcode(ins.Code & SizeMask)
	switch ins.Code & ModeMask {
	case IMM:
		t.emit(isa.Mov32Imm(regA, int32(ins.K)))
	case MEM:
		t.emit(isa.LoadMem(isa.W, regA, isa.R10, slotAt(ins.K)))
	case LEN:
		t.length(regA)
	case ABS:
		anc := ins.Ancillary()
		switch {
		case t.machine == Seccomp:
			t.field(regA, int(ins.K))
		case anc != nil && (t.machine != Libpcap || pcapAncillary(ins)):
			return t.ancillary(anc)
		case t.machine == Libpcap && ins.K >= 1<<31:
			t.outside()
		default:
			t.emit(isa.LoadAbs(size, int32(ins.K)))
		}
	case IND:
		if t.machine == Libpcap {
			t.refuseWrapped(ins.K)
		}
		t.emit(isa.LoadInd(size, regX, int32(ins.K)))
	}
	return nil
}

// outside stands for a load that lies outside every packet. The verifier wants
// what follows to be reachable, so the test is one it cannot decide: a packet's
// length is not negative.
func (t *translator) outside() { t.emit(isa.LoadAbs(isa.B, math.MinInt32)) }

// refuseWrapped ends the program where X + k goes beyond 31 bits: libpcap's
// sums do not wrap around into the packet.
func (t *translator) refuseWrapped(k uint32) {
	t.emit(
		isa.Mov32Imm(regTmp, int32(k)),
		isa.ALU64Reg(isa.Add, regTmp, regX),
		isa.ALU64Imm(isa.Rsh, regTmp, 31),
		isa.JmpImm(isa.Jeq, regTmp, 0, 2),
	)
	t.returnZero()
}

func (t *translator) loadX(ins Instruction) {
	switch ins.Code & ModeMask {
	case IMM:
		t.emit(isa.Mov32Imm(regX, int32(ins.K)))
	case MEM:
		t.emit(isa.LoadMem(isa.W, regX, isa.R10, slotAt(ins.K)))
	case LEN:
		t.length(regX)
	case MSH:
		t.emit(isa.Mov64Reg(regX, regA))
		if t.machine == Libpcap && ins.K >= 1<<31 {
			t.outside()
		} else {
			t.emit(isa.LoadAbs(isa.B, int32(ins.K)))
		}
		t.emit(
			isa.ALU32Imm(isa.And, regA, 0xf),
			isa.ALU32Imm(isa.Lsh, regA, 2),
			isa.Mov64Reg(regTmp, regX),
			isa.Mov64Reg(regX, regA),
			isa.Mov64Reg(regA, regTmp),
		)
	}
}

func (t *translator) compute(ins Instruction) {
	op := isa.Opcode(ins.Code & OpMask) // both machines number them alike
	if op == isa.Neg {
		t.emit(isa.Neg32(regA))
		return
	}
	shift := op == isa.Lsh || op == isa.Rsh
	if ins.Code&SrcMask == K {
		if shift && ins.K >= 32 { // libpcap's alone
			t.emit(isa.Mov32Imm(regA, 0))
			return
		}
		t.emit(isa.ALU32Imm(op, regA, int32(ins.K)))
		return
	}
	switch {
	case op == isa.Div || op == isa.Mod:
		t.emit(isa.Mov32Reg(regX, regX), isa.JmpImm(isa.Jne, regX, 0, 2))
		t.returnZero()
	case shift && t.machine == Libpcap:
		t.emit(isa.JmpImm(isa.Jlt, regX, 32, 1), isa.Mov32Imm(regA, 0))
	}
	t.emit(isa.ALU32Reg(op, regA, regX))
}

func (t *translator) branch(pc int, ins Instruction) {
	op := isa.Opcode(ins.Code & OpMask) // here too
	if op == isa.Ja {
		target := jumpTarget(pc, ins.K)
		if target <= pc { // with a budget, for the verifier's sake
			t.emit(isa.MayGoto(1), isa.Goto(2))
			t.returnZero()
		}
		t.jump(isa.Goto(0), pc, target)
		return
	}
	test := func(op isa.Opcode) isa.Instruction {
		switch {
		case ins.Code&SrcMask == X:
			return isa.JmpReg(op, regA, regX, 0)
		case ins.K > math.MaxInt32: // immediates are signed
			return isa.JmpReg(op, regA, regTmp, 0)
		}
		return isa.JmpImm(op, regA, int32(ins.K), 0)
	}
	if ins.Code&SrcMask == K && ins.K > math.MaxInt32 {
		t.emit(isa.Mov32Imm(regTmp, int32(ins.K)))
	}
	yes, no := pc+1+int(ins.Jt), pc+1+int(ins.Jf)
	opposite, invertible := opposites[op]
	switch {
	case ins.Jf == 0:
		t.jump(test(op), pc, yes)
	case ins.Jt == 0 && invertible:
		t.jump(test(opposite), pc, no)
	default:
		t.jump(test(op), pc, yes)
		t.jump(isa.Goto(0), pc, no)
	}
}

// opposites are the jumps taken where another is not; jset has none.
var opposites = map[isa.Opcode]isa.Opcode{isa.Jeq: isa.Jne, isa.Jgt: isa.Jle, isa.Jge: isa.Jlt}

// ancillary translates a load of ancillary data.
func (t *translator) ancillary(anc *AncillaryRow) error {
	switch anc.ID {
	case Protocol:
		t.field(regA, skbProtocol)
		t.emit(isa.ToBE(regA, 16))
	case PacketType:
		t.field(regA, skbPktType)
	case IfIndex:
		t.field(regTmp, skbIfindex)
		t.emit(isa.JmpImm(isa.Jne, regTmp, 0, 1), isa.ExitInsn(), isa.Mov64Reg(regA, regTmp))
	case Mark:
		t.field(regA, skbMark)
	case Queue:
		t.field(regA, skbQueue)
	case RXHash:
		t.field(regA, skbHash)
	case VLANTag:
		t.field(regA, skbVLANTCI)
	case VLANTagPresent:
		t.field(regA, skbVLANPresent)
	case VLANTPID:
		t.field(regA, skbVLANProto)
		t.emit(isa.ToBE(regA, 16))
	case ALUXorX:
		t.emit(isa.ALU32Reg(isa.Xor, regA, regX))
	case CPU:
		t.emit(isa.HelperCall(helperCPU))
	case Random:
		t.emit(isa.HelperCall(helperRandom))
	case NLAttr:
		t.attribute(false)
	case NLAttrNest:
		t.attribute(true)
	default:
		return fmt.Errorf("%s: %w", anc.Name, ErrNoField)
	}
	return nil
}
