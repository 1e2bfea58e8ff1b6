package conformance

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"github.com/skep-bpf/skep/isa"
)

// Vector is a program, the memory it finds and what it must return.
type Vector struct {
	Insns []isa.Instruction
	// Mem is what R1 points to, R2 its length.
	Mem    []byte
	Result uint64
	// Fails is what the engine must say where the program cannot be run, "" where it can.
	Fails string
}

// Parse reads a vector: sections that begin with a line of two dashes and a name.
//
//	-- asm        the program, or
//	-- raw        its instructions as 64-bit numbers
//	-- mem        bytes in hex
//	-- result     R0, in any base
//	-- error      what the engine says instead
//
// Other sections are for other tools. A # begins a comment.
func Parse(text string) (*Vector, error) {
	section := map[string]string{}
	name := ""
	for line := range strings.Lines(text) {
		if title, ok := strings.CutPrefix(line, "--"); ok {
			name = strings.TrimSpace(title)
			section[name] = ""
			continue
		}
		section[name] += line
	}
	v := &Vector{Fails: strings.TrimSpace(section["error"])}
	var err error
	for _, w := range fields(section["raw"]) {
		n, err := number(w)
		if err != nil {
			return nil, fmt.Errorf("-- raw: %w", err)
		}
		insns, _ := isa.Decode(binary.LittleEndian.AppendUint64(nil, n), binary.LittleEndian) // 8 bytes are one
		v.Insns = append(v.Insns, insns...)
	}
	if v.Insns == nil {
		if v.Insns, err = Assemble(section["asm"]); err != nil {
			return nil, fmt.Errorf("-- asm: %w", err)
		}
	}
	if len(v.Insns) == 0 {
		return nil, fmt.Errorf("no instructions")
	}
	if v.Mem, err = Bytes(strings.Join(fields(section["mem"]), " ")); err != nil {
		return nil, fmt.Errorf("-- mem: %w", err)
	}
	result := strings.Join(fields(section["result"]), "")
	if result == "" && v.Fails == "" {
		return nil, fmt.Errorf("neither -- result nor -- error")
	}
	if result != "" {
		if v.Result, err = number(result); err != nil {
			return nil, fmt.Errorf("-- result: %w", err)
		}
	}
	return v, nil
}

// fields are the words of a section without its comments.
func fields(text string) (words []string) {
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		words = append(words, strings.Fields(line)...)
	}
	return words
}

// Bytes reads bytes in hex, together or with blanks between them.
func Bytes(text string) ([]byte, error) {
	var out []byte
	for _, w := range strings.Fields(text) {
		if len(w) == 1 {
			w = "0" + w
		}
		b, err := hex.DecodeString(w)
		if err != nil {
			return nil, fmt.Errorf("%s is no byte in hex", strconv.Quote(w))
		}
		out = append(out, b...)
	}
	return out, nil
}
