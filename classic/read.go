package classic

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Read reads a program in any of the ways programs are handed around: assembly
// and tcpdump -d ([Assemble]), the numbers of tcpdump -ddd and bpf_asm, the C
// array of -dd and -c, and struct sock_filter as bytes in the given order.
// file only names the program in errors.
func Read(file string, data []byte, order binary.ByteOrder, symbols Symbols) ([]Instruction, error) {
	if !utf8.Valid(data) || bytes.IndexByte(data, 0) >= 0 {
		prog, err := Decode(data, order)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		return prog, nil
	}
	text := string(data)
	switch start := strings.TrimLeft(text, " \t\r\n"); {
	case strings.HasPrefix(start, "{") || strings.HasPrefix(start, "/*") && strings.Contains(start, "*/\n{"):
		return readArray(file, text)
	case start != "" && start[0] >= '0' && start[0] <= '9':
		return readNumbers(file, text)
	}
	return Assemble(file, text, symbols)
}

// readNumbers reads the count and four numbers for each instruction, which
// blanks, line ends or commas part.
func readNumbers(file, text string) ([]Instruction, error) {
	fields := strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(" \t\r\n,", r) })
	if len(fields) == 0 {
		return nil, &SyntaxError{file, 1, 1, "no numbers"}
	}
	count, err := strconv.Atoi(fields[0])
	if err != nil || count < 1 || count > MaxInstructions {
		return nil, &SyntaxError{file, 1, 1, fmt.Sprintf("%s instructions; there must be 1 to %d", fields[0], MaxInstructions)}
	}
	if len(fields) != 1+4*count {
		return nil, &SyntaxError{file, 1, 1, fmt.Sprintf("%d numbers for %d instructions of 4", len(fields)-1, count)}
	}
	prog := make([]Instruction, count)
	for i := range prog {
		if err := prog[i].set(fields[1+4*i:][:4]); err != nil {
			return nil, &SyntaxError{file, i + 2, 1, err.Error()}
		}
	}
	return prog, nil
}

// readArray reads a line { code, jt, jf, k }, for each instruction.
func readArray(file, text string) ([]Instruction, error) {
	var prog []Instruction
	for n, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "/*") {
			continue
		}
		inner, ok := strings.CutPrefix(strings.TrimRight(line, ", "), "{")
		inner, closed := strings.CutSuffix(inner, "}")
		fields := strings.Split(inner, ",")
		if !ok || !closed || len(fields) != 4 {
			return nil, &SyntaxError{file, n + 1, 1, "{ code, jt, jf, k } expected"}
		}
		if len(prog) == MaxInstructions {
			return nil, &SyntaxError{file, n + 1, 1, fmt.Sprintf("more than %d instructions", MaxInstructions)}
		}
		var ins Instruction
		if err := ins.set(fields); err != nil {
			return nil, &SyntaxError{file, n + 1, 1, err.Error()}
		}
		prog = append(prog, ins)
	}
	return prog, nil
}

// set reads the four fields of an instruction.
func (i *Instruction) set(fields []string) error {
	var v [4]uint64
	for n, bits := range [...]int{16, 8, 8, 32} {
		text := strings.TrimSpace(fields[n])
		base := 10
		if hex, ok := strings.CutPrefix(text, "0x"); ok {
			text, base = hex, 16
		}
		var err error
		if v[n], err = strconv.ParseUint(text, base, bits); err != nil {
			return fmt.Errorf("%q is no number of %d bits", fields[n], bits)
		}
	}
	*i = Instruction{uint16(v[0]), uint8(v[1]), uint8(v[2]), uint32(v[3])}
	return nil
}
