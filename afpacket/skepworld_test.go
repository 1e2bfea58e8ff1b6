package afpacket_test

import (
	"bytes"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/skep-bpf/skep"
	"github.com/skep-bpf/skep/afpacket"
	"github.com/skep-bpf/skep/classic"
	"github.com/skep-bpf/skep/device"
	"github.com/skep-bpf/skep/internal/testprog"
)

// skepWorld is a pair of devices of skep's.
type skepWorld struct {
	t     *testing.T
	mach  *skep.Machine
	net   *device.Network
	dev   map[string]*device.Device
	index map[string]int
	sock  *afpacket.Socket
	progs []*skep.Collection
}

func newSkepWorld(t *testing.T) *skepWorld {
	t.Helper()
	static := skep.NewStaticNet()
	m, err := skep.NewMachine(&skep.MachineOptions{CPUs: 1, Checked: engine.Checked, JIT: engine.JIT, Net: static})
	if err != nil {
		t.Fatal(err)
	}
	n := device.New(m, &device.Options{Net: static})
	a, b, err := n.AddDevices(device.Attributes{Name: "a", MAC: [6]byte(mac(macA))}, device.Attributes{Name: "b", MAC: [6]byte(mac(macB))})
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Start(); err != nil {
		t.Fatal(err)
	}
	w := &skepWorld{t: t, mach: m, net: n, dev: map[string]*device.Device{"a": a, "b": b}, index: map[string]int{"a": int(a.Index()), "b": int(b.Index())}}
	if w.sock, err = afpacket.OpenAll(n, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Stop(); err != nil {
			t.Error(err)
		}
		for _, c := range w.progs {
			c.Close()
		}
		m.Close()
	})
	return w
}

func (w *skepWorld) load(typ skep.ProgramType, text string) *skep.Program {
	coll, err := w.mach.LoadCollection(testprog.Image(w.t, nil, testprog.Prog{Name: "p", Type: typ, Text: text}))
	if err != nil {
		w.t.Fatalf("%+v", err)
	}
	w.progs = append(w.progs, coll)
	return coll.Programs["p"]
}

// settle sends a mark, as groups count them; what was sent is through when Send returns.
func (w *skepWorld) settle(from string) {
	if err := w.send(from, frameOf("02:00:00:00:00:99", "02:00:00:00:00:99", marker, make([]byte, 8))); err != nil {
		w.t.Error(err)
	}
}

func (w *skepWorld) send(dev string, f []byte) error {
	return w.sock.SendTo(bytes.Clone(f), w.dev[dev], 0, [6]byte{})
}

func (w *skepWorld) attach(dev, at, text string) {
	d, text := w.dev[dev], withIndexes(text, w.index)
	var err error
	switch at {
	case "xdp":
		err = d.SetXDP(w.load(skep.XDP, text), device.Native)
	case "ingress":
		err = d.Ingress().AttachTCX(w.load(skep.SchedCLS, text), 0)
	case "egress":
		err = d.Egress().AttachTCX(w.load(skep.SchedCLS, text), 0)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *skepWorld) detach(dev, at string) {
	d := w.dev[dev]
	var err error
	switch at {
	case "xdp":
		err = d.SetXDP(nil, 0)
	case "ingress":
		err = d.Ingress().DetachTCX(0)
	case "egress":
		err = d.Egress().DetachTCX(0)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *skepWorld) up(dev string, up bool) { w.dev[dev].SetUp(up) }

type skepSocket struct {
	*afpacket.Socket
	w    *skepWorld
	opts *afpacket.Options
}

func (w *skepWorld) socket(dev string, typ afpacket.Type, protocol uint16, buffer int) (socket, error) {
	s, err := afpacket.OpenAll(w.net, &afpacket.Options{Type: typ, Buffer: buffer})
	if err != nil {
		return nil, err
	}
	w.t.Cleanup(func() { s.Close() })
	k := &skepSocket{Socket: s, w: w}
	return k, k.bind(dev, protocol)
}

func (s *skepSocket) bind(dev string, protocol uint16) error {
	return s.Bind(s.w.dev[dev], protocol)
}
func (s *skepSocket) ignoreOutgoing() error { s.SetIgnoreOutgoing(true); return nil }

func (s *skepSocket) receive() (*seen, error) {
	buf := make([]byte, 4096)
	s.SetReadDeadline(time.Unix(1, 0))
	n, i, err := s.Receive(buf)
	for err == nil && (i.Protocol == marker || i.Addr == [6]byte(mac("02:00:00:00:00:99"))) {
		n, i, err = s.Receive(buf)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &seen{Data: buf[:n], Length: i.Length, Snaplen: i.Snaplen, Network: i.Network, VLANProto: i.VLANProto, VLANTCI: i.VLANTCI,
		Device: i.Device.Name(), Protocol: i.Protocol, Type: i.Type.Number(), Addr: i.Addr}, nil
}

func (s *skepSocket) filter(prog []classic.Instruction) error { return s.AttachFilter(prog) }
func (s *skepSocket) program(text string) error {
	return s.AttachProgram(s.w.load(skep.SocketFilter, text))
}
func (s *skepSocket) detach() error { return s.DetachFilter() }
func (s *skepSocket) lock()         { s.LockFilter() }
func (s *skepSocket) fanout(id uint16, typ afpacket.FanoutType, flags afpacket.FanoutFlags) error {
	_, err := s.JoinFanout(id, typ, flags)
	return err
}
func (s *skepSocket) fanoutFilter(prog []classic.Instruction) error { return s.SetFanoutFilter(prog) }
func (s *skepSocket) fanoutProgram(text string) error {
	return s.SetFanoutProgram(s.w.load(skep.SocketFilter, text))
}
func (s *skepSocket) stats() afpacket.Stats { return s.Stats() }
func (s *skepSocket) send(f []byte) error   { return s.Send(bytes.Clone(f)) }
func (s *skepSocket) sendTo(p []byte, dev string, protocol uint16, to [6]byte) error {
	return s.SendTo(bytes.Clone(p), s.w.dev[dev], protocol, to)
}
func (s *skepSocket) close() { s.Close() }
