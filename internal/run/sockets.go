package run

import (
	"sync"

	"github.com/skep-bpf/skep/internal/helpers"
	"github.com/skep-bpf/skep/internal/socket"
)

// kernelSocks are the tcp_socks in memory that are more than memory, by address.
type kernelSocks struct {
	sync.RWMutex
	at map[uint64]helpers.KernelSock
}

// SetKernelSock says what a tcp_sock at addr belongs to: what helpers do with it they do there. nil: nothing any more.
func (m *Machine) SetKernelSock(addr uint64, k helpers.KernelSock) {
	m.kernelSocks.Lock()
	defer m.kernelSocks.Unlock()
	if m.kernelSocks.at == nil {
		m.kernelSocks.at = map[uint64]helpers.KernelSock{}
	}
	if k == nil {
		delete(m.kernelSocks.at, addr)
		return
	}
	m.kernelSocks.at[addr] = k
}

// attacher is a network that sockets can be put into; packet.StaticNet is one.
type attacher interface {
	NextCookie() uint64
	Attach(s *socket.Socket, spec *socket.Spec)
}

// NewSocket makes a socket that the machine knows, and its network, if that can.
func (m *Machine) NewSocket(spec socket.Spec) (*socket.Socket, error) {
	net, ok := m.opts.Net.(attacher)
	cookie := uint64(0)
	if ok {
		cookie = net.NextCookie()
	} else {
		cookie = m.cookies.Add(1)
	}
	s, err := socket.New(spec, cookie)
	if err != nil {
		return nil, err
	}
	m.Sockets.Number(s)
	if ok && s.Flags&socket.Hashed != 0 {
		net.Attach(s, &spec)
	}
	return s, nil
}
