package classic

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// InstructionSize is the size of struct sock_filter in bytes.
const InstructionSize = 8

// ErrTruncated says that code is no whole number of instructions.
var ErrTruncated = errors.New("not a whole number of 8-byte instructions")

// Decode reads instructions in a byte order: the machine's own when they come
// from memory or a socket. Any code is read, known or not.
func Decode(code []byte, order binary.ByteOrder) ([]Instruction, error) {
	if len(code)%InstructionSize != 0 {
		return nil, fmt.Errorf("%d bytes: %w", len(code), ErrTruncated)
	}
	prog := make([]Instruction, len(code)/InstructionSize)
	for i := range prog {
		b := code[i*InstructionSize:]
		prog[i] = Instruction{Code: order.Uint16(b), Jt: b[2], Jf: b[3], K: order.Uint32(b[4:])}
	}
	return prog, nil
}

// Encode is the inverse of Decode.
func Encode(prog []Instruction, order binary.ByteOrder) []byte {
	code := make([]byte, len(prog)*InstructionSize)
	for i, ins := range prog {
		b := code[i*InstructionSize:]
		order.PutUint16(b, ins.Code)
		b[2], b[3] = ins.Jt, ins.Jf
		order.PutUint32(b[4:], ins.K)
	}
	return code
}
