// Package gopcap has the filters of gopacket's package pcap, compiled and run
// without libpcap. A program that uses no more of it than these changes one
// line:
//
//	import pcap "github.com/skep-bpf/skep/lang/pcap/gopcap"
package gopcap

import (
	"errors"
	"fmt"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/skep-bpf/skep/classic"
	"github.com/skep-bpf/skep/lang/pcap"
)

// MaxBpfInstructions is how many instructions a filter may have.
const MaxBpfInstructions = classic.MaxInstructions

// BPFInstruction is an instruction of a filter, as gopacket has it.
type BPFInstruction struct {
	Code uint16
	Jt   uint8
	Jf   uint8
	K    uint32
}

// BPF is a compiled filter. It may be used by several goroutines at once.
type BPF struct {
	orig   string
	filter *pcap.Filter
}

// NewBPF compiles an expression for packets of a link type, of which at most
// captureLength bytes are captured.
func NewBPF(linkType layers.LinkType, captureLength int, expr string) (*BPF, error) {
	f, err := pcap.Compile(expr, pcap.FromFile(uint32(linkType)), captureLength, &options)
	if err != nil {
		return nil, err
	}
	return &BPF{expr, f}, nil
}

// options are those of a handle gopacket opens for no interface.
var options = pcap.Options{Netmask: pcap.NetmaskUnknown}

// NewBPFInstructionFilter returns a filter of instructions.
func NewBPFInstructionFilter(instructions []BPFInstruction) (*BPF, error) {
	switch n := len(instructions); {
	case n == 0:
		return nil, errors.New("bpfInstructions must not be empty")
	case n > MaxBpfInstructions:
		return nil, fmt.Errorf("bpfInstructions must not be larger than %d", MaxBpfInstructions)
	}
	prog := make([]classic.Instruction, len(instructions))
	for i, ins := range instructions {
		prog[i] = classic.Instruction(ins)
	}
	f, err := pcap.NewFilter(prog)
	if err != nil {
		return nil, err
	}
	return &BPF{"BPF Instruction Filter", f}, nil
}

// CompileBPFFilter compiles an expression to instructions.
func CompileBPFFilter(linkType layers.LinkType, captureLength int, expr string) ([]BPFInstruction, error) {
	b, err := NewBPF(linkType, captureLength, expr)
	if err != nil {
		return nil, err
	}
	instructions := make([]BPFInstruction, len(b.filter.Program()))
	for i, ins := range b.filter.Program() {
		instructions[i] = BPFInstruction(ins)
	}
	return instructions, nil
}

// String returns the expression.
func (b *BPF) String() string { return b.orig }

// Matches reports whether the filter takes a packet, of which data was
// captured.
func (b *BPF) Matches(ci gopacket.CaptureInfo, data []byte) bool {
	if ci.Length <= len(data) {
		return b.filter.Match(data)
	}
	return b.filter.Run(data, &classic.Aux{Length: ci.Length}) != 0
}
