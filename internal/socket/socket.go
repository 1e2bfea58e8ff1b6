package socket

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"sync"

	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/mem"
)

// Spec says what a new [Socket] is.
type Spec struct {
	Protocol uint8          // TCP or UDP; 0: a Unix stream socket
	Local    netip.AddrPort // an unspecified address takes every address; the zero AddrPort: not bound
	Remote   netip.AddrPort // of a connected socket; else the zero AddrPort
	State    uint32         // TCP_*; 0: established with a Remote, else listening (TCP) or closed (UDP)
	V6Only   bool           // takes no IPv4; so does one that is bound to an IPv6 address
	// Reuseport says that the socket was made to share its address (SO_REUSEPORT).
	Reuseport bool
	// Conn is whatever carries the socket's bytes, for those who hold it.
	Conn any
}

// SpecOf describes a net.Conn, net.PacketConn or net.Listener of Go's.
func SpecOf(conn any) (Spec, error) {
	s := Spec{Conn: conn}
	var local, remote net.Addr
	listens := false
	switch c := conn.(type) {
	case net.Listener:
		local, listens = c.Addr(), true
	case net.Conn:
		local, remote = c.LocalAddr(), c.RemoteAddr()
	case net.PacketConn:
		local = c.LocalAddr()
	default:
		return s, fmt.Errorf("a %T is no connection, packet connection or listener", conn)
	}
	switch a := local.(type) {
	case *net.TCPAddr:
		s.Protocol, s.Local = TCP, unmapped(a.AddrPort())
	case *net.UDPAddr:
		s.Protocol, s.Local = UDP, unmapped(a.AddrPort())
	case *net.UnixAddr:
		s.State = TCPEstablished
		if listens {
			s.State = TCPListen
		}
	default:
		return s, fmt.Errorf("a %T with an address of %T is neither TCP, UDP nor Unix", conn, local)
	}
	switch a := remote.(type) {
	case *net.TCPAddr:
		s.Remote = unmapped(a.AddrPort())
	case *net.UDPAddr:
		if a != nil {
			s.Remote = unmapped(a.AddrPort())
		}
	}
	return s, nil
}

// unmapped drops what Go puts around IPv4 addresses.
func unmapped(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }

// Socket is a socket of user space's: made by whoever has the bytes, held by
// maps until it is closed.
type Socket struct {
	*Sock // what programs see; the owner may change it between runs
	// Conn is what Spec.Conn was.
	Conn any
	// OpsFlags are the callbacks that programs of type sock_ops want (BPF_SOCK_OPS_*_CB_FLAG).
	OpsFlags uint32
	// Control puts the socket under another congestion control (TCP_CONGESTION), by name; nil: only the name is kept.
	Control func(name string) errno.Errno

	block *mem.Block
	table *Table

	mu     sync.Mutex
	closed bool
	holds  map[any]hold // by who holds on
	// user is who has the one place a socket has for data of its own
	// (sk_user_data): a reuseport_sockarray, or the psock of sockmaps.
	user  any
	group *Group

	options    map[optionKey]int32 // that were set
	congestion string              // "": as it was
}

// hold is what to do at Close, or at Unhash already.
type hold struct {
	drop   func()
	hashed bool
}

// New makes a socket. Who has no table for it frees it by Free.
func New(spec Spec, cookie uint64) (*Socket, error) {
	b, err := mem.Alloc(SockSize + TCPSockSize)
	if err != nil {
		return nil, err
	}
	s := &Socket{Sock: (*Sock)(mem.Ptr(b.Addr())), Conn: spec.Conn, block: b} // the block lives until free
	*s.Sock = Sock{
		Family: AFUnix, Type: Stream, Protocol: uint32(spec.Protocol), State: spec.State, RxQueue: -1,
		SrcPort: uint32(spec.Local.Port()), DstPort: htons(spec.Remote.Port()), Cookie: cookie,
	}
	switch spec.Protocol {
	case TCP:
		s.TCP = b.Addr() + uint64(SockSize)
	case UDP:
		s.Type = Dgram
	}
	switch a := spec.Local.Addr(); {
	case a.Is4():
		s.Family = AFInet
	case spec.Protocol != 0:
		s.Family = AFInet6
	}
	if s.State == 0 {
		switch {
		case spec.Remote.IsValid():
			s.State = TCPEstablished
		case spec.Protocol == TCP && spec.Local.IsValid():
			s.State = TCPListen
		default:
			s.State = TCPClose
		}
	}
	if spec.Local.IsValid() && (spec.Protocol == UDP || s.State != TCPClose) {
		s.Flags |= Hashed
	}
	if a := spec.Local.Addr(); spec.V6Only || a.Is6() && !a.IsUnspecified() && !a.Is4In6() { // as inet6_bind does
		s.Flags |= V6Only
	}
	if spec.Reuseport {
		s.Flags |= Reuseport
	}
	s.SrcIP4, s.SrcIP6 = Words(spec.Local.Addr())
	s.DstIP4, s.DstIP6 = Words(spec.Remote.Addr())
	return s, nil
}

// Update makes s what another socket is, but for its cookie and number: it has
// been bound or connected since.
func (s *Socket) Update(to *Socket) {
	s.State, s.Flags = to.State, to.Flags
	s.SrcPort, s.SrcIP4, s.SrcIP6 = to.SrcPort, to.SrcIP4, to.SrcIP6
	s.DstPort, s.DstIP4, s.DstIP6 = to.DstPort, to.DstIP4, to.DstIP6
}

// Local is the socket's own address.
func (s *Socket) Local() netip.AddrPort {
	return netip.AddrPortFrom(addrOf(s.Family, s.SrcIP4, s.SrcIP6), uint16(s.SrcPort))
}

// Remote is the address of the socket's peer.
func (s *Socket) Remote() netip.AddrPort {
	return netip.AddrPortFrom(addrOf(s.Family, s.DstIP4, s.DstIP6), htons(s.DstPort))
}

// addrOf is what Words makes words of.
func addrOf(family, v4 uint32, v6 [4]uint32) netip.Addr {
	if family == AFInet {
		return netip.AddrFrom4([4]byte(binary.LittleEndian.AppendUint32(nil, v4)))
	}
	var b [16]byte
	for i, w := range v6 {
		binary.LittleEndian.PutUint32(b[4*i:], w)
	}
	return netip.AddrFrom16(b)
}

// SetLocal makes an address the socket's own.
func (s *Socket) SetLocal(a netip.AddrPort) {
	s.SrcIP4, s.SrcIP6 = Words(a.Addr())
	s.SrcPort = uint32(a.Port())
}

// SetRemote makes an address that of the socket's peer.
func (s *Socket) SetRemote(a netip.AddrPort) {
	s.DstIP4, s.DstIP6 = Words(a.Addr())
	s.DstPort = htons(a.Port())
}

// Addr is where the Sock lies: what programs are handed.
func (s *Socket) Addr() uint64 { return s.block.Addr() }

// Hold registers who keeps s until it is closed; drop is called then, unless
// Forget was before. It fails for a socket that is closed.
func (s *Socket) Hold(who any, drop func()) bool { return s.hold(who, hold{drop, false}) }

// HoldHashed is Hold by who keeps s as long as it has an address.
func (s *Socket) HoldHashed(who any, drop func()) bool { return s.hold(who, hold{drop, true}) }

func (s *Socket) hold(who any, h hold) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	if s.holds == nil {
		s.holds = map[any]hold{}
	}
	s.holds[who] = h
	return true
}

// Forget takes Hold back.
func (s *Socket) Forget(who any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.holds, who)
}

// Claim takes the place for data of its own, and fails with EBUSY where another
// has it. The owner of it may claim it again.
func (s *Socket) Claim(who any) errno.Errno {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.user != nil && s.user != who {
		return errno.EBUSY
	}
	s.user = who
	return 0
}

// User returns who has the place for data of its own, or nil.
func (s *Socket) User() any {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.user
}

// Unclaim takes Claim back.
func (s *Socket) Unclaim(who any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.user == who {
		s.user = nil
	}
}

// Close takes the socket out of its group and of all maps; its memory goes when no run
// can have it any more. What carries its bytes is its owner's to close.
func (s *Socket) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	holds := s.holds
	s.holds = nil
	s.mu.Unlock()
	for _, h := range holds {
		h.drop()
	}
	if g := s.Group(); g != nil {
		g.Remove(s)
	}
	if s.table != nil {
		s.table.drop(s)
	} else {
		s.block.Free()
	}
	return nil
}

// Unhash tells that the socket has lost its address: it was reset or shut down. It leaves its group and
// reuseport_sockarrays (inet_unhash, bpf_sk_reuseport_detach), and stays in other maps.
func (s *Socket) Unhash() {
	s.mu.Lock()
	s.Flags &^= Hashed
	s.State = TCPClose
	var drops []func()
	for who, h := range s.holds {
		if h.hashed {
			drops = append(drops, h.drop)
			delete(s.holds, who)
		}
	}
	s.mu.Unlock()
	for _, drop := range drops {
		drop()
	}
	if g := s.Group(); g != nil {
		g.Remove(s)
	}
}

// Words returns an address as struct bpf_sock has it, in network order.
func Words(a netip.Addr) (v4 uint32, v6 [4]uint32) {
	switch {
	case a.Is4():
		b := a.As4()
		v4 = le32(b[:])
	case a.Is6():
		b := a.As16()
		for i := range v6 {
			v6[i] = le32(b[4*i:])
		}
	}
	return v4, v6
}

// le32 reads four bytes as they lie in memory, so that network order stays.
func le32(b []byte) uint32 {
	return uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24
}

func htons(v uint16) uint16 { return v<<8 | v>>8 }
