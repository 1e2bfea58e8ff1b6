//go:build linux && (amd64 || arm64)

package serve

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/skep-bpf/skep/internal/bpfsys"
	"github.com/skep-bpf/skep/internal/socket"
)

// sockQuery asks the kernel after one socket (sock_diag(7)), which needs neither rights nor a
// descriptor, so that the socket lives and dies as if nobody asked:
//
//	nlmsghdr 16 │ inet_diag_req_v2 56 or unix_diag_req 24
type sockQuery struct {
	request []byte
	cookie  uint64
	inode   int // where answers have the inode: 0 for one without a descriptor (an orphan)
	cookieA int // where answers have the cookie
}

const (
	nlHeader     = 16
	inetDiagReq  = 56
	unixDiagReq  = 24
	anySockState = ^uint32(0)
)

// lifeOf returns how to ask after an open socket, that a process has by a descriptor and we by our own.
// It is nil for one that the kernel does not find now: it has no address, or lives in another network
// namespace. One that is not found later is closed, unless the process still has the descriptor.
func lifeOf(pid, fd, own int, spec *socket.Spec, cookie uint64) func() bpfsys.Life {
	if spec.Protocol != 0 && !spec.Local.IsValid() {
		return nil
	}
	var st unix.Stat_t
	if unix.Fstat(own, &st) != nil {
		return nil
	}
	q := inetQuery(spec, cookie)
	if spec.Protocol == 0 {
		q = unixQuery(uint32(st.Ino), cookie)
	}
	if found, orphan, err := q.ask(); err != nil || !found || orphan {
		return nil
	}
	path, name := fmt.Sprintf("/proc/%d/fd/%d", pid, fd), fmt.Sprintf("socket:[%d]", st.Ino)
	return func() bpfsys.Life {
		switch found, orphan, err := q.ask(); {
		case err != nil, found && !orphan:
			return bpfsys.Open
		case found:
			return bpfsys.Closed
		}
		if now, err := os.Readlink(path); err == nil && now == name {
			return bpfsys.Unhashed
		}
		return bpfsys.Closed
	}
}

// inetQuery asks by addresses for a connection, and lists what has the port for what listens and for
// datagram sockets: these may share an address, and only one would be found by it.
func inetQuery(spec *socket.Spec, cookie uint64) *sockQuery {
	b := make([]byte, nlHeader+inetDiagReq)
	q := &sockQuery{request: b, cookie: cookie, cookieA: 44, inode: 68}
	req := b[nlHeader:]
	req[0], req[1] = unix.AF_INET, spec.Protocol
	if !spec.Local.Addr().Is4() {
		req[0] = unix.AF_INET6
	}
	binary.BigEndian.PutUint16(req[8:], spec.Local.Port())
	flags, states := uint16(unix.NLM_F_REQUEST), anySockState
	switch {
	case spec.Protocol != socket.TCP:
		flags |= unix.NLM_F_DUMP
	case spec.State == socket.TCPListen:
		flags |= unix.NLM_F_DUMP
		states = 1 << socket.TCPListen
	default:
		binary.BigEndian.PutUint16(req[10:], spec.Remote.Port())
		putAddr(req[12:], spec.Local.Addr())
		putAddr(req[28:], spec.Remote.Addr())
	}
	binary.NativeEndian.PutUint32(req[4:], states)
	binary.NativeEndian.PutUint64(req[48:], cookie)
	q.header(flags)
	return q
}

func putAddr(to []byte, a netip.Addr) {
	if a.IsValid() {
		copy(to, a.AsSlice())
	}
}

func unixQuery(inode uint32, cookie uint64) *sockQuery {
	b := make([]byte, nlHeader+unixDiagReq)
	q := &sockQuery{request: b, cookie: cookie, cookieA: 8, inode: 4}
	req := b[nlHeader:]
	req[0] = unix.AF_UNIX
	binary.NativeEndian.PutUint32(req[4:], anySockState)
	binary.NativeEndian.PutUint32(req[8:], inode)
	binary.NativeEndian.PutUint64(req[16:], cookie)
	q.header(unix.NLM_F_REQUEST)
	return q
}

func (q *sockQuery) header(flags uint16) {
	binary.NativeEndian.PutUint32(q.request, uint32(len(q.request)))
	binary.NativeEndian.PutUint16(q.request[4:], unix.SOCK_DIAG_BY_FAMILY)
	binary.NativeEndian.PutUint16(q.request[6:], flags)
}

// errSockList: a list came in parts, between which sockets may have moved.
var errSockList = errors.New("the list of sockets has changed meanwhile")

// ask reports whether the socket is found, and whether it lingers without a descriptor.
func (q *sockQuery) ask() (found, orphan bool, err error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return false, false, err
	}
	defer unix.Close(fd)
	if err := unix.Sendto(fd, q.request, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return false, false, err
	}
	lists := binary.NativeEndian.Uint16(q.request[6:])&unix.NLM_F_DUMP != 0
	buf := make([]byte, 32<<10)
	for parts := 0; ; parts++ {
		n, _, err := unix.Recvfrom(fd, buf, 0)
		if err != nil {
			return false, false, err
		}
		messages, err := syscall.ParseNetlinkMessage(buf[:n])
		if err != nil {
			return false, false, err
		}
		for _, m := range messages {
			switch m.Header.Type {
			case unix.NLMSG_DONE:
				if parts > 1 {
					err = errSockList
				}
				return false, false, err
			case unix.NLMSG_ERROR:
				if len(m.Data) >= 4 {
					err = unix.Errno(-int32(binary.NativeEndian.Uint32(m.Data)))
				}
				if !lists && (errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESTALE)) {
					err = nil // not found; of Unix sockets, whose inode is another's by now, ESTALE says so
				}
				return false, false, err
			case unix.SOCK_DIAG_BY_FAMILY:
				if len(m.Data) < max(q.cookieA+8, q.inode+4) {
					return false, false, unix.EPROTO
				}
				if binary.NativeEndian.Uint64(m.Data[q.cookieA:]) == q.cookie {
					return true, binary.NativeEndian.Uint32(m.Data[q.inode:]) == 0, nil
				}
				if !lists {
					return false, false, nil
				}
			}
		}
	}
}
