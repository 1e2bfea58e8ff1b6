package afpacket

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/skep-bpf/skep"
	"github.com/skep-bpf/skep/classic"
	"github.com/skep-bpf/skep/device"
	"github.com/skep-bpf/skep/hook"
	"github.com/skep-bpf/skep/image"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/packet"
)

// filter is a program that says how many bytes of a packet a socket gets; none: it does not get it.
type filter struct {
	prog *skep.Program
	vm   []classic.Instruction // instead, where the program cannot be translated
	own  *skep.Collection      // that the program is closed with; nil: it is another's
}

// newFilter makes a filter of classic BPF.
func newFilter(m *skep.Machine, prog []classic.Instruction) (*filter, error) {
	if err := classic.Check(prog, classic.Socket); err != nil {
		return nil, fmt.Errorf("afpacket: filter: %w: %w", err, errno.EINVAL)
	}
	insns, err := classic.Translate(prog, classic.Socket)
	if errors.Is(err, classic.ErrNoField) || errors.Is(err, classic.ErrTooFar) {
		return &filter{vm: prog}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("afpacket: filter: %w", err)
	}
	coll, err := m.LoadCollection(&image.Image{Name: "filter", ByteOrder: binary.NativeEndian, License: "GPL",
		Programs: []*image.Program{{Name: "filter", Type: skep.SocketFilter, Insns: insns}}})
	if err != nil {
		return nil, fmt.Errorf("afpacket: filter: %w", err)
	}
	return &filter{prog: coll.Programs["filter"], own: coll}, nil
}

// programFilter makes a filter of a program.
func programFilter(p *skep.Program) (*filter, error) {
	if p.Type() != skep.SocketFilter {
		return nil, fmt.Errorf("afpacket: filter: program %s is of type %s: %w", p.Name(), p.Type(), errno.EINVAL)
	}
	return &filter{prog: p}, nil
}

// run runs the filter on the CPU's packet.
func (f *filter) run(cpu *skep.CPU, p *device.Passing, typ Type) uint32 {
	network := typ == Datagram
	if f.prog == nil {
		return f.classic(cpu, p, network)
	}
	pkt := cpu.Packet()
	m := &p.Meta
	if err := pkt.SetSKB(p.Frame, skep.SKBOptions{
		Live: true, L2: !network, Dev: skep.Device{Ifindex: m.Ifindex}, IngressIfindex: m.Ifindex,
		Mark: m.Mark, Priority: m.Priority, Tstamp: m.Tstamp, QueueMapping: m.Queue,
		VLANProto: m.VLANProto, VLANTCI: m.VLANTCI,
	}); err != nil {
		return 0
	}
	pkt.PktType = m.Type.Number()
	pkt.Protocol = uint32(packet.Htons(p.Protocol))
	if tags := uint64(p.Network - ethernetHeader); tags > 0 {
		pkt.NetHeader += tags
		if network {
			pkt.Data += tags
			pkt.DataMeta = pkt.Data
			pkt.Len -= uint32(tags)
		}
	}
	r0, err := cpu.Run(f.prog)
	if err != nil {
		return 0 // the program is closed
	}
	return r0
}

// arphrdEther is the hardware type of all devices (ARPHRD_ETHER).
const arphrdEther = 1

// classic runs a program that asks for what extended BPF cannot have.
func (f *filter) classic(cpu *skep.CPU, p *device.Passing, network bool) uint32 {
	m := &p.Meta
	aux := classic.Aux{
		Protocol: p.Protocol, PacketType: uint8(m.Type.Number()), IfIndex: m.Ifindex, HardwareType: arphrdEther,
		Mark: m.Mark, Queue: uint16(m.Queue), CPU: uint32(cpu.ID()), VLANTag: m.VLANTCI, VLANTPID: m.VLANProto,
		Network: p.Network,
	}
	data := p.Frame
	if network {
		data, aux.Head = data[p.Network:], data[:p.Network]
		aux.Network, aux.Link = 0, -p.Network
	}
	vm, err := classic.NewVM(f.vm, classic.Socket)
	if err != nil {
		return 0 // it was checked
	}
	return vm.Run(data, &aux)
}

// close gives the program back, which nobody runs any more.
func (f *filter) close() {
	if f != nil && f.own != nil {
		f.own.Close()
	}
}

// AttachFilter puts a filter of classic BPF in the place of the one that is there (SO_ATTACH_FILTER).
func (s *Socket) AttachFilter(prog []classic.Instruction) error {
	f, err := newFilter(s.net.Machine(), prog)
	if err != nil {
		return err
	}
	return s.setFilter("attach filter", f)
}

// AttachProgram does so with a program of type socket_filter (SO_ATTACH_BPF), which stays the caller's to
// close, after the socket.
func (s *Socket) AttachProgram(p *skep.Program) error {
	f, err := programFilter(p)
	if err != nil {
		return err
	}
	return s.setFilter("attach program", f)
}

// DetachFilter takes the filter away (SO_DETACH_FILTER).
func (s *Socket) DetachFilter() error { return s.setFilter("detach filter", nil) }

// setFilter exchanges the filter if that may be.
func (s *Socket) setFilter(op string, f *filter) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var err error
	switch {
	case s.closed:
		err = errClosed
	case s.locked:
		err = fmt.Errorf("afpacket: %s: the filter is locked: %w", op, errno.EPERM)
	case f == nil && s.filter == nil:
		err = fmt.Errorf("afpacket: %s: there is none: %w", op, errno.ENOENT)
	default:
		s.exchange(f)
		return nil
	}
	f.close()
	return err
}

// exchange waits until the old filter is not run any more. The caller holds s.mu.
func (s *Socket) exchange(f *filter) {
	s.filterMu.Lock()
	old := s.filter
	s.filter = f
	s.filterMu.Unlock()
	old.close()
}

// LockFilter has the filter, or that there is none, stay for good (SO_LOCK_FILTER).
func (s *Socket) LockFilter() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.locked = true
}

// choose says whom a fanout group's program chooses.
func (f *filter) choose(cpu *skep.CPU, p *device.Passing) uint32 {
	typ := Datagram // what came in stands at its network header, what goes out at its link header
	if p.Meta.Type == hook.Outgoing {
		typ = Raw
	}
	return f.run(cpu, p, typ)
}
