package pcap

import "github.com/skep-bpf/skep/classic"

// Filter is a compiled expression, ready to be asked about packets. It may be
// used by several goroutines at once.
type Filter struct {
	prog []classic.Instruction
	vm   *classic.VM
}

// NewFilter returns a filter of a program, which must keep the rules of
// libpcap's machine: see [classic.Check].
func NewFilter(prog []classic.Instruction) (*Filter, error) {
	vm, err := classic.NewVM(prog, classic.Libpcap)
	if err != nil {
		return nil, err
	}
	return &Filter{prog, vm}, nil
}

// Program returns the filter's program, which must not be changed.
func (f *Filter) Program() []classic.Instruction { return f.prog }

// Match reports whether the filter takes a packet that was captured whole. A
// load past the end of the packet drops it.
func (f *Filter) Match(packet []byte) bool { return f.vm.Run(packet, nil) != 0 }

// Run returns how many bytes of a packet the filter takes, 0 for none. aux is
// what is known of the packet besides its bytes, such as its length on the
// wire; it may be nil.
func (f *Filter) Run(packet []byte, aux *classic.Aux) uint32 { return f.vm.Run(packet, aux) }
