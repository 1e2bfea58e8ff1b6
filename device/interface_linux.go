package device

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// host is an interface of the host, tapped by a packet socket.
type host struct {
	file  *os.File
	write bool
}

// OpenInterface makes a device of an interface of the host: it receives a copy of
// what comes in there, which goes its own way all the same. What is transmitted is
// dropped, or with write sent out of the interface. It needs CAP_NET_RAW.
func OpenInterface(name string, write bool) (Port, error) {
	iface, err := net.InterfaceByName(name)
	if err != nil {
		return nil, fmt.Errorf("interface %s: %w", name, err)
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("interface %s: packet socket: %w", name, err)
	}
	// What goes out, also from here, is not received.
	err = unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1)
	if err == nil {
		all := binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, unix.ETH_P_ALL))
		err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: iface.Index})
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("interface %s: packet socket: %w", name, err)
	}
	return &host{os.NewFile(uintptr(fd), name), write}, nil
}

func (*host) Queues() int { return 1 }

func (h *host) Receive(_ int, frames [][]byte) (int, error) { return receive(h.file, frames) }

func (h *host) Transmit(frames [][]byte) (int, error) {
	if !h.write {
		return 0, nil
	}
	for i, f := range frames {
		switch _, err := h.file.Write(f); {
		case errors.Is(err, os.ErrClosed):
			return i, io.ErrClosedPipe
		case errors.Is(err, unix.ENOBUFS), errors.Is(err, unix.EMSGSIZE), errors.Is(err, unix.ENETDOWN):
			return i, nil
		case err != nil:
			return i, err
		}
	}
	return len(frames), nil
}

func (h *host) Close() error {
	if err := h.file.Close(); !errors.Is(err, os.ErrClosed) {
		return err
	}
	return nil
}
