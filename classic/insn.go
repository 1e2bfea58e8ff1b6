// Package classic is the first BPF: the machine of the 1993 paper, with two
// registers A and X, sixteen words of scratch memory and forward jumps, that
// tcpdump, socket filters and seccomp speak to this day.
//
// An instruction is struct sock_filter of <linux/filter.h>, which is struct
// bpf_insn of <pcap/bpf.h>:
//
//	 0              16      24      32                      64
//	┌───────────────┬───────┬───────┬───────────────────────┐
//	│ code          │ jt    │ jf    │ k                     │
//	└───────────────┴───────┴───────┴───────────────────────┘
//
// and its code is made of fields that depend on its class:
//
//	 7   6   5   4   3   2   1   0
//	┌───────────┬───────┬───────────┐
//	│ mode      │ size  │ class     │  LD, LDX, ST, STX
//	├───────────┴───┬───┼───────────┤
//	│ op            │src│ class     │  ALU, JMP; RET and MISC keep
//	└───────────────┴───┴───────────┘  theirs in the same upper bits
package classic

import "golang.org/x/net/bpf"

// Limits every classic machine shares.
const (
	MaxInstructions = 4096 // BPF_MAXINSNS: instructions in a program
	MemWords        = 16   // BPF_MEMWORDS: words of scratch memory
)

// Instruction classes: the low three bits of a code.
const (
	ClassMask = 0x07

	LD   = 0x00 // A = value
	LDX  = 0x01 // X = value
	ST   = 0x02 // M[k] = A
	STX  = 0x03 // M[k] = X
	ALU  = 0x04 // A = A op (k or X)
	JMP  = 0x05 // pc += k, or pc += A op (k or X) ? jt : jf
	RET  = 0x06 // return k or A
	MISC = 0x07 // move between A and X
)

// Sizes of loads.
const (
	SizeMask = 0x18

	W = 0x00 // 32 bits, big-endian in a packet
	H = 0x08 // 16 bits
	B = 0x10 // 8 bits
)

// Addressing modes of loads.
const (
	ModeMask = 0xe0

	IMM = 0x00 // k
	ABS = 0x20 // P[k : k+size]; ancillary data where k >= 0xfffff000
	IND = 0x40 // P[X+k : X+k+size]
	MEM = 0x60 // M[k]
	LEN = 0x80 // length of the packet on the wire
	MSH = 0xa0 // 4*(P[k]&0xf): the length of an IPv4 header
)

// Operations of ALU and JMP.
const (
	OpMask = 0xf0

	ADD = 0x00
	SUB = 0x10
	MUL = 0x20
	DIV = 0x30
	OR  = 0x40
	AND = 0x50
	LSH = 0x60
	RSH = 0x70
	NEG = 0x80
	MOD = 0x90
	XOR = 0xa0

	JA   = 0x00 // always, by k
	JEQ  = 0x10 // A == operand
	JGT  = 0x20 // A > operand, unsigned
	JGE  = 0x30 // A >= operand, unsigned
	JSET = 0x40 // A & operand
)

// The source of an operand of ALU and JMP, and of the value RET returns.
const (
	SrcMask = 0x08
	K       = 0x00 // the constant k
	X       = 0x08 // register X

	RvalMask = 0x18
	A        = 0x10 // RET only: register A
)

// Moves of class MISC.
const (
	MiscMask = 0xf8

	TAX = 0x00 // X = A
	TXA = 0x80 // A = X
)

// Instruction is one classic instruction, laid out as struct sock_filter.
type Instruction struct {
	Code uint16 // class and its fields, above
	Jt   uint8  // instructions to skip where a conditional jump's test holds
	Jf   uint8  // and where it does not
	K    uint32 // constant, offset, scratch slot or distance of a jump
}

// Class returns the class of the instruction: one of LD to MISC.
func (i Instruction) Class() uint16 { return i.Code & ClassMask }

// Raw returns the instruction as x/net/bpf has it.
func (i Instruction) Raw() bpf.RawInstruction {
	return bpf.RawInstruction{Op: i.Code, Jt: i.Jt, Jf: i.Jf, K: i.K}
}

// FromRaw returns x/net/bpf's instruction as ours.
func FromRaw(r bpf.RawInstruction) Instruction {
	return Instruction{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
}

// RawProgram returns a whole program as x/net/bpf has it.
func RawProgram(prog []Instruction) []bpf.RawInstruction {
	raw := make([]bpf.RawInstruction, len(prog))
	for i, ins := range prog {
		raw[i] = ins.Raw()
	}
	return raw
}

// FromRawProgram returns a whole program of x/net/bpf as ours.
func FromRawProgram(raw []bpf.RawInstruction) []Instruction {
	prog := make([]Instruction, len(raw))
	for i, r := range raw {
		prog[i] = FromRaw(r)
	}
	return prog
}
