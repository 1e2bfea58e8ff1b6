package hook

import (
	"fmt"

	"github.com/skep-bpf/skep"
)

// SocketFilterOptions shape a socket filter.
type SocketFilterOptions struct {
	CPU int
	// Network shows the program the packet from its network header on, as a filter
	// on an IP socket sees it; else from its link header, as on a packet socket.
	Network bool
}

// SocketFilter is a filter on a socket (SO_ATTACH_BPF): its program's return
// value is how many bytes of the packet the socket gets, none means it gets
// nothing. It holds a virtual CPU until Close and is used by one goroutine at a time.
type SocketFilter struct {
	prog *skep.Program
	cpu  *skep.CPU
	opts SocketFilterOptions
}

// NewSocketFilter makes a filter that runs prog on every packet.
func NewSocketFilter(m *skep.Machine, prog *skep.Program, opts *SocketFilterOptions) (*SocketFilter, error) {
	if got := prog.Type(); got != skep.SocketFilter {
		return nil, fmt.Errorf("hook socket filter: program %s is of type %s", prog.Name(), got)
	}
	s := &SocketFilter{prog: prog}
	if opts != nil {
		s.opts = *opts
	}
	cpu, err := m.HoldCPU(s.opts.CPU)
	if err != nil {
		return nil, err
	}
	s.cpu = cpu
	return s, nil
}

// Close gives the CPU back.
func (s *SocketFilter) Close() { s.cpu.Release() }

// Run filters one packet, which starts with its link header, and returns what
// the socket gets of it: nil for a packet that was filtered out. The result is
// valid until the next run.
func (s *SocketFilter) Run(data []byte, meta Meta) ([]byte, error) {
	pkt := s.cpu.Packet()
	o := skbOptions(&meta)
	o.L2 = !s.opts.Network
	if err := pkt.SetSKB(data, o); err != nil {
		return nil, err
	}
	r0, err := s.cpu.Run(s.prog)
	if err != nil || r0 == 0 {
		return nil, err
	}
	b := pkt.Bytes()
	return b[:min(uint64(r0), uint64(len(b)))], nil
}
