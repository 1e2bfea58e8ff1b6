package hook

import (
	"fmt"
	"net/netip"

	"github.com/skep-bpf/skep"
)

// CgroupSocket is a socket of a control group: its methods are the calls that programs have a say in. What
// they would do is told, and the socket notes it, so that programs of later calls see it.
// There are no ports to choose from here: a socket that is not bound has port 0, where Linux chooses
// one before it sends. It is used by one goroutine at a time.
type CgroupSocket struct {
	*skep.Socket
	g             *Cgroup
	six           bool
	local, remote netip.AddrPort
}

// Errors that the kernel finds without a program.
const (
	eNOENT       skep.Errno = 2
	eBUSY        skep.Errno = 16
	eINVAL       skep.Errno = 22
	eNOLINK      skep.Errno = 67
	eAFNOSUPPORT skep.Errno = 97
	eNOTCONN     skep.Errno = 107
	eNOTSUPP     skep.Errno = 524
)

// Socket makes a socket of network "tcp4", "tcp6", "udp4" or "udp6", if the
// programs of socket creation (cgroup/sock_create) let it, which may set its mark, priority and device.
func (g *Cgroup) Socket(network string) (*CgroupSocket, error) {
	s := &CgroupSocket{g: g}
	spec := skep.SocketSpec{State: skep.SocketClose}
	switch network {
	case "tcp4", "tcp6":
		spec.Protocol = skep.ProtoTCP
	case "udp4", "udp6":
		spec.Protocol = skep.ProtoUDP
	default:
		return nil, fmt.Errorf("hook cgroup: a socket of network %q; there are tcp4, tcp6, udp4 and udp6", network)
	}
	unspecified := netip.IPv4Unspecified()
	if s.six = network[3] == '6'; s.six {
		unspecified = netip.IPv6Unspecified()
	}
	s.local = netip.AddrPortFrom(unspecified, 0)
	var err error
	if s.Socket, err = g.mach.NewSocket(spec); err != nil {
		return nil, err
	}
	s.Family = s.family()
	s.CGroupID = g.ID
	if err := s.life(skep.AttachCGroupInetSockCreate); err != nil {
		s.Socket.Close()
		return nil, err
	}
	return s, nil
}

// family is AF_INET or AF_INET6, as Linux numbers them.
func (s *CgroupSocket) family() uint32 {
	if s.six {
		return 10
	}
	return 2
}

// life runs programs of type cgroup_sock.
func (s *CgroupSocket) life(at skep.AttachType) error {
	_, err := s.g.run(at, func(cpu *skep.CPU, progs []skep.CgroupProgram) (skep.CgroupRun, error) {
		return cpu.CgroupSock(progs, s.Socket)
	})
	return err
}

// Close gives the socket up; its programs (cgroup/sock_release) have no say in it.
func (s *CgroupSocket) Close() error {
	_, err := s.g.run(skep.AttachCGroupInetSockRelease, func(cpu *skep.CPU, progs []skep.CgroupProgram) (skep.CgroupRun, error) {
		r, err := cpu.CgroupSock(progs, s.Socket)
		r.Retval = 0
		return r, err
	})
	s.Socket.Close()
	return err
}

// call runs one of two attach types, for sockets of IPv4 and of IPv6, on an address of the socket's family.
func (s *CgroupSocket) call(at4, at6 skep.AttachType, a *skep.CgroupSockAddr) (skep.CgroupRun, error) {
	at := at4
	if s.six {
		at = at6
	}
	switch {
	case !a.Addr.IsValid():
		return skep.CgroupRun{}, fmt.Errorf("%s: no address: %w", at, eAFNOSUPPORT)
	case s.six:
		a.Addr = netip.AddrPortFrom(netip.AddrFrom16(a.Addr.Addr().As16()), a.Addr.Port())
	case !a.Addr.Addr().Is4():
		return skep.CgroupRun{}, fmt.Errorf("%s: %v is no address of IPv4: %w", at, a.Addr, eAFNOSUPPORT)
	}
	return s.addr(at, a)
}

func (s *CgroupSocket) addr(at skep.AttachType, a *skep.CgroupSockAddr) (skep.CgroupRun, error) {
	a.Socket = s.Socket
	return s.g.run(at, func(cpu *skep.CPU, progs []skep.CgroupProgram) (skep.CgroupRun, error) {
		return cpu.CgroupSockAddr(progs, a)
	})
}

// Bind asks for an address of the socket's own (cgroup/bind4, bind6) and returns what
// programs made of it; anyPort says that a port that only root may take is granted to everybody. Then it is
// the socket's, unless those of cgroup/post_bind4 and post_bind6 take it away.
func (s *CgroupSocket) Bind(to netip.AddrPort) (local netip.AddrPort, anyPort bool, err error) {
	a := skep.CgroupSockAddr{Addr: to}
	r, err := s.call(skep.AttachCGroupInet4Bind, skep.AttachCGroupInet6Bind, &a)
	if err != nil {
		return netip.AddrPort{}, false, err
	}
	before := s.local
	s.local = a.Addr
	s.SetLocal(a.Addr)
	post := skep.AttachCGroupInet4PostBind
	if s.six {
		post = skep.AttachCGroupInet6PostBind
	}
	if err := s.life(post); err != nil {
		s.local = before
		s.SetLocal(before)
		return netip.AddrPort{}, false, err
	}
	return a.Addr, r.Flags&skep.CgroupAnyPort != 0, nil
}

// Connect asks to connect (cgroup/connect4, connect6) and returns where to: programs may have
// changed it.
func (s *CgroupSocket) Connect(to netip.AddrPort) (netip.AddrPort, error) {
	a := skep.CgroupSockAddr{Addr: to}
	if _, err := s.call(skep.AttachCGroupInet4Connect, skep.AttachCGroupInet6Connect, &a); err != nil {
		return netip.AddrPort{}, err
	}
	s.remote = a.Addr
	s.SetRemote(a.Addr)
	s.State = skep.SocketEstablished
	return a.Addr, nil
}

// SendTo asks to send a datagram (cgroup/sendmsg4, sendmsg6) and returns where to and where from. The
// zero address as source is one that routing chooses. To IPv4 from a socket of IPv6 it is sendmsg4 that is asked.
func (s *CgroupSocket) SendTo(to netip.AddrPort, source netip.Addr) (netip.AddrPort, netip.Addr, error) {
	if to.Port() == 0 {
		return netip.AddrPort{}, netip.Addr{}, fmt.Errorf("sending to port 0: %w", eINVAL)
	}
	if !source.IsValid() {
		source = s.local.Addr()
	}
	a := skep.CgroupSockAddr{Addr: to, Source: source}
	var err error
	if v4 := to.Addr().Unmap(); s.six && v4.Is4() {
		a.Addr = netip.AddrPortFrom(v4, to.Port())
		if a.Source = source.Unmap(); !a.Source.Is4() {
			a.Source = netip.IPv4Unspecified()
		}
		_, err = s.addr(skep.AttachCGroupUDP4Sendmsg, &a)
	} else {
		if _, err = s.call(skep.AttachCGroupUDP4Sendmsg, skep.AttachCGroupUDP6Sendmsg, &a); err == nil && a.Addr.Addr().Is4In6() {
			err = fmt.Errorf("a program of sendmsg6 sends to %v, of IPv4: %w", a.Addr, eNOTSUPP)
		}
	}
	if err == nil && a.Addr.Port() == 0 {
		err = fmt.Errorf("a program sends to port 0: %w", eINVAL)
	}
	if err != nil {
		return netip.AddrPort{}, netip.Addr{}, err
	}
	return a.Addr, a.Source, nil
}

// ReceivedFrom returns the address that a receiver is told of who has sent a datagram (cgroup/recvmsg4, recvmsg6).
func (s *CgroupSocket) ReceivedFrom(from netip.AddrPort) (netip.AddrPort, error) {
	return s.name(skep.AttachCGroupUDP4Recvmsg, skep.AttachCGroupUDP6Recvmsg, from)
}

// PeerName is what getpeername(2) answers (cgroup/getpeername4, getpeername6): ENOTCONN before Connect.
func (s *CgroupSocket) PeerName() (netip.AddrPort, error) {
	if !s.remote.IsValid() {
		return netip.AddrPort{}, eNOTCONN
	}
	return s.name(skep.AttachCGroupInet4GetPeername, skep.AttachCGroupInet6GetPeername, s.remote)
}

// SockName is what getsockname(2) answers (cgroup/getsockname4, getsockname6).
func (s *CgroupSocket) SockName() (netip.AddrPort, error) {
	return s.name(skep.AttachCGroupInet4GetSockname, skep.AttachCGroupInet6GetSockname, s.local)
}

func (s *CgroupSocket) name(at4, at6 skep.AttachType, is netip.AddrPort) (netip.AddrPort, error) {
	a := skep.CgroupSockAddr{Addr: is}
	if _, err := s.call(at4, at6, &a); err != nil {
		return netip.AddrPort{}, err
	}
	return a.Addr, nil
}
