package run

import "github.com/skep-bpf/skep/internal/socket"

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
