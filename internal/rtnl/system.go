package rtnl

import (
	"io"

	"github.com/skep-bpf/skep/internal/bpfsys"
	"github.com/skep-bpf/skep/internal/serve"
)

// NewSystem is serve.NewSystem of a machine with devices, of which there is the loopback device, down. say is the Server's Say; end ends both.
func NewSystem(o serve.MachineOptions, say func(line string), errw io.Writer) (s *Server, sys *bpfsys.System, end func() error, err error) {
	s = New(o.Trace)
	s.Say = say
	o.Net, o.Devices = s.Net, s
	sys, done, err := serve.NewSystem(o, errw)
	if err != nil {
		return nil, nil, nil, err
	}
	if err := s.Begin(sys, o.Checked); err != nil {
		done()
		return nil, nil, nil, err
	}
	return s, sys, func() error {
		err := s.End()
		done()
		return err
	}, nil
}

// LoopbackUp takes the loopback device up, as systems do when they boot.
func (s *Server) LoopbackUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.links[loopIndex]
	l.dev.SetUp(true)
	l.wasUp = true
}
