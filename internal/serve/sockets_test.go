//go:build linux && (amd64 || arm64)

package serve

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/features"
	"golang.org/x/sys/unix"

	"github.com/skep-bpf/skep/internal/oracle"
)

func init() { clients["closes"] = closesSockets }

var loopback = unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}

// openSocket makes a bound socket that may share its address.
func openSocket(typ int) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, typ, 0)
	if err != nil {
		return -1, err
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
		return -1, err
	}
	return fd, unix.Bind(fd, &loopback)
}

func listening() (fd, peer int, err error) {
	fd, err = openSocket(unix.SOCK_STREAM)
	return fd, -1, errors.Join(err, unix.Listen(fd, 8))
}

func datagrams() (fd, peer int, err error) {
	fd, err = openSocket(unix.SOCK_DGRAM)
	return fd, -1, err
}

func connected() (fd, peer int, err error) {
	l, _, err := listening()
	if err != nil {
		return 0, 0, err
	}
	defer unix.Close(l)
	if peer, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0); err != nil {
		return 0, 0, err
	}
	at, err := unix.Getsockname(l)
	if err != nil {
		return 0, 0, err
	}
	if err := unix.Connect(peer, at); err != nil {
		return 0, 0, err
	}
	fd, _, err = unix.Accept(l)
	return fd, peer, err
}

func unixPair() (fd, peer int, err error) {
	p, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	return p[0], p[1], err
}

// closesSockets puts sockets into maps of one place and closes them: they have left, their place is
// free, and who is at the other end sees the end.
func closesSockets() error {
	for _, c := range []struct {
		name  string
		typ   ebpf.MapType
		make  func() (fd, peer int, err error)
		reset bool // by the peer before it is closed
	}{
		{"listener", ebpf.SockMap, listening, false},
		{"listener", ebpf.SockHash, listening, false},
		{"listener", ebpf.ReusePortSockArray, listening, false},
		{"datagrams", ebpf.SockMap, datagrams, false},
		{"datagrams", ebpf.SockHash, datagrams, false},
		{"datagrams", ebpf.ReusePortSockArray, datagrams, false},
		{"connection", ebpf.SockMap, connected, false},
		{"connection", ebpf.SockHash, connected, false},
		{"connection that is reset", ebpf.SockMap, connected, true},
		{"connection that is reset", ebpf.SockHash, connected, true},
		{"Unix socket", ebpf.SockMap, unixPair, false},
		{"Unix socket", ebpf.SockHash, unixPair, false},
	} {
		if err := closesSocket(c.typ, c.make, c.reset); err != nil {
			return fmt.Errorf("%s in a %s: %w", c.name, c.typ, err)
		}
	}
	return shutsDown()
}

// shutsDown takes the address from a listener, which leaves arrays of what shares one, and stays in sockmaps.
func shutsDown() error {
	var cookie uint64
	for typ, want := range map[ebpf.MapType]error{ebpf.ReusePortSockArray: ebpf.ErrKeyNotExist, ebpf.SockMap: nil} {
		fd, _, err := listening()
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		m, err := ebpf.NewMap(&ebpf.MapSpec{Type: typ, KeySize: 4, ValueSize: 8, MaxEntries: 1})
		if err != nil {
			return err
		}
		defer m.Close()
		if err := errors.Join(m.Put(uint32(0), uint64(fd)), unix.Shutdown(fd, unix.SHUT_RDWR)); err != nil {
			return err
		}
		if err := m.Lookup(uint32(0), &cookie); !errors.Is(err, want) {
			return fmt.Errorf("a listener that was shut down, in a %s: %v, want %v", typ, err, want)
		}
	}
	return nil
}

func closesSocket(typ ebpf.MapType, socket func() (fd, peer int, err error), reset bool) error {
	m, err := ebpf.NewMap(&ebpf.MapSpec{Type: typ, KeySize: 4, ValueSize: 8, MaxEntries: 1})
	if err != nil {
		return err
	}
	defer m.Close()
	// Twice by a lookup, then without one, where what was closed is only in the way.
	for i := range 3 {
		key, cookie := uint32(0), uint64(0)
		if typ == ebpf.SockHash {
			key = uint32(i)
		}
		fd, peer, err := socket()
		if err != nil {
			return err
		}
		if err := m.Update(key, uint64(fd), ebpf.UpdateNoExist); err != nil {
			return fmt.Errorf("round %d, put: %w", i, err)
		}
		if err := m.Lookup(key, &cookie); err != nil {
			return fmt.Errorf("round %d, found open: %w", i, err)
		}
		if reset {
			if err := unix.SetsockoptLinger(peer, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}); err != nil {
				return err
			}
			unix.Close(peer)
			if _, err := unix.Read(fd, make([]byte, 1)); !errors.Is(err, unix.ECONNRESET) {
				return fmt.Errorf("read: %w, want a reset", err)
			}
			if err := m.Lookup(key, &cookie); err != nil {
				return fmt.Errorf("round %d, found reset: %w", i, err)
			}
			peer = -1
		}
		unix.Close(fd)
		if peer >= 0 {
			if n, err := unix.Read(peer, make([]byte, 1)); n != 0 || err != nil {
				return fmt.Errorf("the peer reads %d bytes, %w, want the end", n, err)
			}
			unix.Close(peer)
		}
		switch i {
		case 0:
			if err := m.Lookup(key, &cookie); !errors.Is(err, ebpf.ErrKeyNotExist) {
				return fmt.Errorf("found closed: cookie %#x, %v", cookie, err)
			}
		case 1:
			var next uint32
			if err := m.NextKey(nil, &next); typ == ebpf.SockHash && !errors.Is(err, ebpf.ErrKeyNotExist) {
				return fmt.Errorf("a key, %d, of what is closed: %v", next, err)
			}
		}
	}
	return nil
}

// TestClosedSockets: a client's closed sockets leave maps as they leave the kernel's.
func TestClosedSockets(t *testing.T) {
	sys, code := serveClient(t, "closes")
	if code != 0 {
		t.Errorf("exit code %d", code)
	}
	empty(t, sys)
	t.Run("kernel", func(t *testing.T) {
		oracle.Need(t, "the live kernel's sockhash", features.HaveMapType(ebpf.SockHash))
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), "SERVE_CLIENT=closes")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	})
}
