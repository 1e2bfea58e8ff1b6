package isa

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// ErrTruncated says that code does not end on a slot boundary.
var ErrTruncated = errors.New("code is not a whole number of 8-byte instructions")

// Decode reads code as a program of [InsnSize]-byte slots in the byte order
// of its target. It judges nothing: every slot decodes, legal or not, and
// [Encode] gives the same bytes back. The only error is [ErrTruncated].
//
// The two register fields are C bit fields, so on a big-endian target they
// trade nibbles as well:
//
//	             bit 7…4   3…0
//	little        src      dst
//	big           dst      src
func Decode(code []byte, order binary.ByteOrder) ([]Instruction, error) {
	if len(code)%InsnSize != 0 {
		return nil, fmt.Errorf("%w: %d bytes", ErrTruncated, len(code))
	}
	little := isLittle(order)
	prog := make([]Instruction, len(code)/InsnSize)
	for i := range prog {
		slot := code[i*InsnSize:][:InsnSize]
		lo, hi := Register(slot[1]&0x0f), Register(slot[1]>>4)
		dst, src := lo, hi
		if !little {
			dst, src = hi, lo
		}
		prog[i] = Instruction{
			Op:  Opcode(slot[0]),
			Dst: dst,
			Src: src,
			Off: int16(order.Uint16(slot[2:])),
			Imm: int32(order.Uint32(slot[4:])),
		}
	}
	return prog, nil
}

// Encode writes prog in the byte order of its target, the inverse of [Decode].
// A register number occupies four bits; higher ones are cut off.
func Encode(prog []Instruction, order binary.ByteOrder) []byte {
	little := isLittle(order)
	code := make([]byte, len(prog)*InsnSize)
	for i, ins := range prog {
		slot := code[i*InsnSize:][:InsnSize]
		lo, hi := byte(ins.Dst)&0x0f, byte(ins.Src)&0x0f
		if !little {
			lo, hi = hi, lo
		}
		slot[0] = byte(ins.Op)
		slot[1] = hi<<4 | lo
		order.PutUint16(slot[2:], uint16(ins.Off))
		order.PutUint32(slot[4:], uint32(ins.Imm))
	}
	return code
}

// isLittle asks the order itself, so that binary.NativeEndian is understood too.
func isLittle(order binary.ByteOrder) bool { return order.Uint16([]byte{1, 0}) == 1 }
