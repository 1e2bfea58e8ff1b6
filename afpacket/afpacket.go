// Package afpacket has packet sockets (packet(7)) on devices of skep: what passes a device is seen as Linux's AF_PACKET
// sockets see it, behind a filter of classic or extended BPF, by one socket or dealt out to a group.
//
//	sock, err := afpacket.Open(dev, &afpacket.Options{Protocol: afpacket.All})
//	err = sock.AttachFilter(prog)               // what tcpdump -d prints, as lang/pcap compiles it
//	for {
//		n, info, err := sock.Receive(buf)   // waits
//		…
//		sock.Send(frame)
//	}
//
// Where a socket's packets are seen is drawn with [device.Watcher].
package afpacket

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/skep-bpf/skep"
	"github.com/skep-bpf/skep/classic"
	"github.com/skep-bpf/skep/device"
	"github.com/skep-bpf/skep/hook"
	"github.com/skep-bpf/skep/internal/errno"
)

// All as a protocol stands for every one, and what is sent (ETH_P_ALL).
const All = hook.ProtocolAll

// Type is what a packet begins with.
type Type uint8

// Types of sockets.
const (
	Raw      Type = iota // SOCK_RAW: its link header
	Datagram             // SOCK_DGRAM: its network header
)

// defaultBuffer is how much waits for a reader at most, in bytes (net.core.rmem_default).
const defaultBuffer = 212992

// Options shape a socket.
type Options struct {
	Type Type
	// Protocol is an Ethernet type in host order, or All. Of one protocol a socket sees what has passed
	// the way in, tc included; with All everything, before tc's ingress and after its egress. 0: nothing
	// until Bind.
	Protocol uint16
	// Filter or Program, if not nil, is attached before the first packet is seen, as AttachFilter and AttachProgram do.
	Filter  []classic.Instruction
	Program *skep.Program
	// Buffer is how much waits for the reader at most, in bytes as the kernel counts them, with what it
	// needs besides (SO_RCVBUF, doubled); 0: 212992.
	Buffer int
	// IgnoreOutgoing leaves out what is sent (PACKET_IGNORE_OUTGOING).
	IgnoreOutgoing bool
	// BypassQdisc sends past tc's egress and those who watch (PACKET_QDISC_BYPASS).
	BypassQdisc bool
	// CPU is the virtual CPU that Send sends on, counted round.
	CPU int
}

// Info is what is known of a packet besides its bytes (struct tpacket_auxdata, struct sockaddr_ll).
type Info struct {
	Length  int // that the packet had: tp_len, in bytes
	Snaplen int // that the filter left of it: tp_snaplen
	Network int // where its network header begins: tp_net
	Time    time.Time
	// VLANProto and VLANTCI are the tag that was taken off it; 0: none.
	VLANProto, VLANTCI uint16

	Device   *device.Device
	Protocol uint16 // its Ethernet type in host order
	// Type is whom it is for; hook.Outgoing is what was sent.
	Type hook.PacketType
	Addr [6]byte // the sender's link address
}

// Stats count what came for a socket, the dropped ones too.
type Stats struct{ Packets, Drops uint64 }

// Socket is a packet socket. It is safe for concurrent use.
type Socket struct {
	net  *device.Network
	opts Options

	filterMu sync.RWMutex // held while the filter runs
	filter   *filter      // nil: none

	mu       sync.Mutex // of all below
	dev      *device.Device
	bound    bool // to dev, or to all
	proto    uint16
	stop     func()
	fanout   *group
	incoming atomic.Bool       // what is sent is not seen
	rolled   atomic.Uint32     // where its group's packets went last that it had no room for
	recent   [16]atomic.Uint32 // flows that came when there was little room
	locked   bool              // the filter
	closed   bool

	queue
	sendMu sync.Mutex
	sender *device.Sender
}

// Open opens a socket on a device.
func Open(d *device.Device, opts *Options) (*Socket, error) { return open(d.Network(), d, opts) }

// OpenAll opens a socket on all devices of a network, those that come too.
func OpenAll(n *device.Network, opts *Options) (*Socket, error) { return open(n, nil, opts) }

func open(n *device.Network, d *device.Device, opts *Options) (*Socket, error) {
	s := &Socket{net: n}
	if opts != nil {
		s.opts = *opts
	}
	if s.opts.Buffer < 0 {
		return nil, fmt.Errorf("afpacket: a buffer of %d bytes: %w", s.opts.Buffer, errno.EINVAL)
	}
	if s.opts.Buffer == 0 {
		s.opts.Buffer = defaultBuffer
	}
	s.queue.init(s.opts.Buffer)
	s.incoming.Store(s.opts.IgnoreOutgoing)
	if s.opts.Filter != nil {
		if err := s.AttachFilter(s.opts.Filter); err != nil {
			return nil, err
		}
	}
	if s.opts.Program != nil {
		if err := s.AttachProgram(s.opts.Program); err != nil {
			return nil, err
		}
	}
	if err := s.Bind(d, s.opts.Protocol); err != nil {
		return nil, err
	}
	return s, nil
}

// errClosed is a system call's answer to a descriptor that is none any more.
var errClosed = fmt.Errorf("afpacket: %w", os.ErrClosed)

// Bind has a socket see another device, all of them for nil, or another protocol; 0 keeps the one it has. A socket of a
// fanout group stays where it is.
func (s *Socket) Bind(d *device.Device, protocol uint16) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return errClosed
	case s.fanout != nil:
		return fmt.Errorf("afpacket: bind: the socket is in a fanout group: %w", errno.EINVAL)
	}
	if s.stop != nil {
		s.stop()
		s.stop = nil
	}
	s.dev = d
	if protocol != 0 {
		s.proto = protocol
	}
	s.bound = true
	if s.proto != 0 {
		s.stop = s.net.Watch(d, s.proto, (*watcher)(s))
		if d != nil && !d.Up() {
			s.queue.fail(errno.ENETDOWN)
		}
	}
	return nil
}

// Close ends the socket; who waits in Receive gets os.ErrClosed.
func (s *Socket) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errClosed
	}
	s.closed = true
	if s.fanout != nil {
		s.fanout.leave(s)
		s.fanout = nil
	}
	if s.stop != nil {
		s.stop()
	}
	s.queue.close()
	s.exchange(nil)
	return nil
}

// SetIgnoreOutgoing says whether the socket sees what is sent (PACKET_IGNORE_OUTGOING).
func (s *Socket) SetIgnoreOutgoing(on bool) { s.incoming.Store(on) }

// Device is what the socket is bound to; nil: all devices.
func (s *Socket) Device() *device.Device {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dev
}

// watcher is a socket as devices know it.
type watcher Socket

// Watch takes a packet (packet_rcv).
func (w *watcher) Watch(cpu *skep.CPU, p *device.Passing) {
	s := (*Socket)(w)
	if p.Meta.Type == hook.Outgoing && (s.incoming.Load() || p.Sender == any(s)) {
		return
	}
	s.take(cpu, p)
}

// Down has the reader learn of it.
func (w *watcher) Down(_ *device.Device, _ bool) { (*Socket)(w).queue.fail(errno.ENETDOWN) }

// take runs the filter on a packet and keeps what it leaves.
func (s *Socket) take(cpu *skep.CPU, p *device.Passing) {
	f := p.Frame
	if s.opts.Type == Datagram {
		f = f[p.Network:]
	}
	keep := len(f)
	s.filterMu.RLock()
	if s.filter != nil {
		keep = int(min(uint64(s.filter.run(cpu, p, s.opts.Type)), uint64(keep)))
	}
	s.filterMu.RUnlock()
	if keep == 0 {
		return
	}
	info := Info{
		Length: len(f), Snaplen: keep, VLANProto: p.Meta.VLANProto, VLANTCI: p.Meta.VLANTCI,
		Device: p.Device, Protocol: p.Protocol, Type: p.Meta.Type, Addr: [6]byte(p.Frame[6:]),
		Time: s.net.Machine().Now(),
	}
	if s.opts.Type == Raw {
		info.Network = p.Network
	} else if isVLAN(p.Protocol) { // the reader does not see that tag
		if info.VLANProto == 0 {
			info.VLANProto, info.VLANTCI = p.Protocol, tag(p.Frame)
		}
		info.Protocol = innermost(p.Frame)
	}
	s.queue.put(f[:keep], len(p.Frame), info)
}

// ethernetHeader is the length of a link header in bytes.
const ethernetHeader = 14

// Receive waits for a packet and copies it to buf, as much as fits, which is n bytes. A device that went down
// gives ENETDOWN once; afterwards the socket waits until it is up again.
func (s *Socket) Receive(buf []byte) (n int, info Info, err error) {
	return s.queue.take(buf)
}

// SetReadDeadline bounds how long Receive waits (os.ErrDeadlineExceeded); the zero time is for ever.
func (s *Socket) SetReadDeadline(t time.Time) error {
	s.queue.setDeadline(t)
	return nil
}

// Stats returns what came since it was asked last (PACKET_STATISTICS).
func (s *Socket) Stats() Stats { return s.queue.stats() }

// Send sends a packet out of the device the socket is bound to: a frame, or of a Datagram socket nothing, as SendTo says
// what kind of packet it is.
func (s *Socket) Send(frame []byte) error {
	if s.opts.Type == Datagram {
		return s.failed(errno.EINVAL)
	}
	return s.SendTo(frame, nil, 0, [6]byte{})
}

// SendTo sends a packet out of a device; nil: the one the socket is bound to. Datagram sockets put a link header before it, with
// the protocol and the address it is for.
func (s *Socket) SendTo(packet []byte, d *device.Device, protocol uint16, to [6]byte) error {
	s.mu.Lock()
	closed := s.closed
	if d == nil {
		d = s.dev
	}
	if protocol == 0 {
		protocol = s.proto
	}
	s.mu.Unlock()
	switch {
	case closed:
		return errClosed
	case d == nil || s.net.Device(d.Index()) != d:
		return s.failed(errno.ENXIO)
	case !d.Up():
		return s.failed(errno.ENETDOWN)
	}
	if s.opts.Type == Datagram {
		frame := make([]byte, ethernetHeader, ethernetHeader+len(packet))
		mac := d.MAC()
		copy(frame, to[:])
		copy(frame[6:], mac[:])
		frame[12], frame[13] = byte(protocol>>8), byte(protocol)
		packet = append(frame, packet...)
	}
	limit := int(d.MTU()) + ethernetHeader
	if len(packet) >= ethernetHeader && device.EtherType(packet) == vlanProto {
		limit += vlanTag
	}
	switch {
	case len(packet) < ethernetHeader:
		return s.failed(errno.EINVAL)
	case len(packet) > limit:
		return s.failed(errno.EMSGSIZE)
	}
	s.sendMu.Lock()
	defer s.sendMu.Unlock()
	if s.sender == nil {
		s.sender = s.net.NewSender(s.opts.CPU, s)
	}
	ok, err := s.sender.Send(d, packet, hook.Meta{Type: hook.ToHost}, s.opts.BypassQdisc)
	if errors.Is(err, device.ErrNotRunning) || err == nil && !ok {
		return s.failed(errno.ENOBUFS)
	}
	return err
}

// Protocols of VLAN tags, the length of one in bytes, and how many in a row are looked at.
const (
	vlanProto = 0x8100
	qinqProto = 0x88a8
	vlanTag   = 4
	maxTags   = 8
)

func isVLAN(protocol uint16) bool { return protocol == vlanProto || protocol == qinqProto }

// tag is a frame's first tag, 0 where it is cut short.
func tag(f []byte) uint16 {
	if len(f) < ethernetHeader+vlanTag {
		return 0
	}
	return binary.BigEndian.Uint16(f[ethernetHeader:])
}

// innermost is the protocol behind all tags of a frame, 0 where it is cut short.
func innermost(f []byte) uint16 {
	at := ethernetHeader
	for range maxTags {
		if at += vlanTag; at > len(f) {
			return 0
		}
		if protocol := binary.BigEndian.Uint16(f[at-2:]); !isVLAN(protocol) {
			return protocol
		}
	}
	return 0
}

func (s *Socket) failed(e errno.Errno) error { return fmt.Errorf("afpacket: send: %w", e) }
