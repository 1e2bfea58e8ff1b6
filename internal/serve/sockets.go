//go:build linux && (amd64 || arm64)

package serve

import (
	"errors"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/skep-bpf/skep/internal/bpfsys"
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/socket"
)

// Socket tells of a socket of the client's (bpfsys.Sockets). Its descriptor is
// copied for as long as that takes.
func (c *client) Socket(fd int32) (spec socket.Spec, cookie uint64, life func() bpfsys.Life, e errno.Errno) {
	own, err := copyFD(int(c.pid), int(fd))
	if err != nil {
		return spec, 0, nil, errno.EBADF
	}
	defer unix.Close(own)
	if cookie, err = unix.GetsockoptUint64(own, unix.SOL_SOCKET, unix.SO_COOKIE); err != nil {
		return spec, 0, nil, errno.ENOTSOCK
	}
	option := func(level, name int) int { v, _ := unix.GetsockoptInt(own, level, name); return v }
	spec.State = socket.TCPClose
	switch spec.Protocol = uint8(option(unix.SOL_SOCKET, unix.SO_PROTOCOL)); spec.Protocol {
	case socket.TCP:
		if info, err := unix.GetsockoptTCPInfo(own, unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
			spec.State = uint32(info.State)
		}
	case socket.UDP:
	default:
		if option(unix.SOL_SOCKET, unix.SO_DOMAIN) != unix.AF_UNIX {
			return spec, 0, nil, errno.ENOTSOCK // one that no map of sockets takes
		}
		spec.Protocol = 0
	}
	if sa, err := unix.Getsockname(own); err == nil {
		spec.Local = addrPort(sa)
	}
	if sa, err := unix.Getpeername(own); err == nil {
		spec.Remote = addrPort(sa)
		if spec.Protocol != socket.TCP {
			spec.State = socket.TCPEstablished
		}
	}
	if spec.Local.Port() == 0 {
		spec.Local = netip.AddrPort{} // not bound
	}
	spec.Reuseport = option(unix.SOL_SOCKET, unix.SO_REUSEPORT) != 0
	spec.V6Only = option(unix.IPPROTO_IPV6, unix.IPV6_V6ONLY) != 0
	return spec, cookie, lifeOf(c.tgid(), int(fd), own, &spec, cookie), 0
}

func addrPort(sa unix.Sockaddr) netip.AddrPort {
	switch a := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr), uint16(a.Port))
	}
	return netip.AddrPort{}
}

// copyFD copies a descriptor of another process, which is named by one of its threads.
func copyFD(tid, fd int) (int, error) {
	pidfd, err := unix.PidfdOpen(tid, 0)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
		pidfd, err = unix.PidfdOpen(tid, unix.O_EXCL) // PIDFD_THREAD
	}
	if err != nil {
		return 0, err
	}
	defer unix.Close(pidfd)
	return unix.PidfdGetfd(pidfd, fd, 0)
}

// netlink says of sockets by which programs are attached to devices that these are the kernel's. Of all that have such
// sockets those are meant that set the options libbpf, iproute2 and Go's netlink packages set before they change anything, where there
// is a program for a device; who lists the devices, as Go's net package does, sets none.
func (c *client) netlink(fd int) answer {
	own, err := copyFD(int(c.pid), fd)
	if err != nil {
		return pass
	}
	defer unix.Close(own)
	domain, _ := unix.GetsockoptInt(own, unix.SOL_SOCKET, unix.SO_DOMAIN)
	protocol, err := unix.GetsockoptInt(own, unix.SOL_SOCKET, unix.SO_PROTOCOL)
	if err != nil || domain != unix.AF_NETLINK || protocol != unix.NETLINK_ROUTE {
		return pass
	}
	m := c.s.sys.Machine()
	for id, ok := m.NextProgram(0); ok; id, ok = m.NextProgram(id) {
		p := m.Program(id)
		if p == nil {
			continue
		}
		t := p.Info.Type
		p.Close()
		if t == catalog.ProgXDP || t == catalog.ProgSchedCls {
			c.s.sys.Unserved("netlink, whose devices are the kernel's", "skep ip link set DEV xdp and skep tc, on devices of skep serve; BPF links go to these, too")
			break
		}
	}
	return pass
}
