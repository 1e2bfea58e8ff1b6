package afxdp_test

import (
	"errors"
	"fmt"
	"net"
	"testing"

	"github.com/skep-bpf/skep/internal/afxdp"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/maps"
	"github.com/skep-bpf/skep/internal/oracle"
	"github.com/skep-bpf/skep/internal/oracle/netns"
)

// inNamespace runs f in a network namespace with a pair of devices x and y, up, with so many queues.
func inNamespace(t *testing.T, queues int, f func()) {
	t.Helper()
	netns.In(t, func() {
		netns.Pair(t, "x", "y", queues)
		f()
	})
}

// wire is one end of a pair for sockets of ours.
type wire struct {
	queues int
	pools  *afxdp.Pools
	sent   [][]byte
	down   bool
}

func newWire(queues int) *wire { return &wire{queues: queues, pools: afxdp.NewPools(queues)} }

func (w *wire) Queues() int         { return w.queues }
func (w *wire) Up() bool            { return !w.down }
func (w *wire) PlacesFrames() bool  { return false }
func (w *wire) Pools() *afxdp.Pools { return w.pools }
func (w *wire) Transmit(frames [][]byte) (int, bool) {
	for _, f := range frames {
		w.sent = append(w.sent, append([]byte(nil), f...))
	}
	return len(frames), false
}

// side is where a sequence of calls is made: sockets of one engine and devices.
type side struct {
	name    string
	open    func() afxdp.Sys
	device  []any // x, y, none
	sockets []afxdp.Sys
	areas   []*afxdp.Area
	log     []string
}

func (s *side) note(what string, err error) {
	word := "ok"
	var e errno.Errno
	if errors.As(err, &e) {
		word = e.Name()
	} else if err != nil {
		word = err.Error()
	}
	s.log = append(s.log, what+": "+word)
}

func (s *side) socket(n int) afxdp.Sys {
	for len(s.sockets) <= n {
		s.sockets = append(s.sockets, s.open())
	}
	return s.sockets[n]
}

func (s *side) area(n int) *afxdp.Area {
	a, err := afxdp.NewArea(n)
	if err != nil {
		panic(err)
	}
	s.areas = append(s.areas, a)
	return a
}

func (s *side) close() {
	for _, x := range s.sockets {
		x.Close()
	}
	for _, a := range s.areas {
		a.Close()
	}
}

// step is one call of a sequence.
type step func(*side)

func reg(sock, size int, r afxdp.Reg) step {
	return func(s *side) {
		s.note(fmt.Sprintf("%d register %d %+v", sock, size, r), s.socket(sock).Register(s.area(size), r))
	}
}

func ring(sock int, k afxdp.RingKind, n uint32) step {
	return func(s *side) { s.note(fmt.Sprintf("%d %s ring %d", sock, k, n), s.socket(sock).MakeRing(k, n)) }
}

func mapRing(sock int, k afxdp.RingKind) step {
	return func(s *side) {
		r, err := s.socket(sock).MapRing(k)
		what := fmt.Sprintf("%d map %s", sock, k)
		if err == nil {
			what += fmt.Sprint(" wakeup ", r.NeedsWakeup())
		}
		s.note(what, err)
		r.Unmap()
	}
}

func bind(sock, dev int, queue uint32, flags uint16, shared int) step {
	return func(s *side) {
		a := afxdp.Addr{Flags: flags, Device: s.device[dev], Queue: queue}
		if shared >= 0 {
			a.Shared = s.socket(shared)
		}
		s.note(fmt.Sprintf("%d bind %d.%d flags %#x shared %d", sock, dev, queue, flags, shared), s.socket(sock).Bind(a))
		o, err := s.socket(sock).Options()
		s.note(fmt.Sprintf("options %#x", o), err)
	}
}

func send(sock int) step {
	return func(s *side) { s.note(fmt.Sprint(sock, " send"), s.socket(sock).Send()) }
}

func recv(sock int) step {
	return func(s *side) { s.note(fmt.Sprint(sock, " recv"), s.socket(sock).Recv()) }
}

func closes(sock int) step {
	return func(s *side) { s.note(fmt.Sprint(sock, " close"), s.socket(sock).Close()) }
}

func stats(sock int) step {
	return func(s *side) {
		st, err := s.socket(sock).Statistics()
		s.note(fmt.Sprintf("%d %+v", sock, st), err)
	}
}

// all four rings and a UMEM
func whole(sock int) step {
	return func(s *side) {
		for _, f := range []step{reg(sock, 16<<12, afxdp.Reg{ChunkSize: 4096}), ring(sock, afxdp.RX, 8), ring(sock, afxdp.TX, 8),
			ring(sock, afxdp.Fill, 8), ring(sock, afxdp.Completion, 8)} {
			f(s)
		}
	}
}

func each(n int, f func(i int) step) (all []step) {
	for i := range n {
		all = append(all, f(i))
	}
	return all
}

var setups = map[string][]step{
	"chunk sizes": each(9, func(i int) step {
		return reg(i, 64<<12, afxdp.Reg{ChunkSize: []uint32{0, 1024, 2047, 2048, 3000, 4095, 4096, 4097, 8192}[i]})
	}),
	"unaligned chunk sizes": each(9, func(i int) step {
		return reg(i, 64<<12, afxdp.Reg{ChunkSize: []uint32{0, 1024, 2047, 2048, 3000, 4095, 4096, 4097, 8192}[i], Flags: afxdp.Unaligned})
	}),
	"headroom": each(6, func(i int) step {
		return reg(i, 64<<12, afxdp.Reg{ChunkSize: 2048, Headroom: []uint32{0, 1, 1791, 1792, 2048, 1 << 31}[i]})
	}),
	"UMEM flags": each(6, func(i int) step {
		return reg(i, 64<<12, afxdp.Reg{ChunkSize: 2048, Flags: 1 << i})
	}),
	"metadata": each(6, func(i int) step {
		return reg(i, 64<<12, afxdp.Reg{ChunkSize: 2048, Flags: 4, TxMetadataLen: []uint32{0, 4, 8, 248, 256, 264}[i]})
	}),
	"sizes": {
		reg(0, 1000, afxdp.Reg{ChunkSize: 2048}), reg(0, 3000, afxdp.Reg{ChunkSize: 2048}), reg(1, 3000, afxdp.Reg{ChunkSize: 2048, Flags: 1}),
		reg(2, 4096, afxdp.Reg{ChunkSize: 2048}), reg(2, 4096, afxdp.Reg{ChunkSize: 2048}),
	},
	"ring sizes": append(each(9, func(i int) step {
		return ring(i, afxdp.RX, []uint32{0, 1, 2, 3, 4, 100, 1024, 1<<31 - 1, 1<<32 - 1}[i])
	}), ring(2, afxdp.RX, 2), ring(2, afxdp.TX, 2), ring(2, afxdp.Fill, 5), ring(2, afxdp.Fill, 1), ring(2, afxdp.Completion, 1),
		mapRing(2, afxdp.RX), mapRing(2, afxdp.TX), mapRing(2, afxdp.Fill), mapRing(2, afxdp.Completion), mapRing(0, afxdp.RX), mapRing(6, afxdp.Fill)),
	"bind": {
		bind(0, 0, 0, 0, -1), ring(0, afxdp.RX, 8), bind(0, 0, 0, 0, -1), ring(0, afxdp.Fill, 8), ring(0, afxdp.Completion, 8), bind(0, 0, 0, 0, -1),
		reg(0, 8192, afxdp.Reg{ChunkSize: 2048}), bind(0, 2, 0, 0, -1), bind(0, 0, 2, 0, -1), bind(0, 0, 77, 0, -1), bind(0, 0, 0, 1<<5, -1),
		bind(0, 0, 0, afxdp.Copy|afxdp.ZeroCopy, -1), bind(0, 0, 0, 0, -1), bind(0, 0, 0, 0, -1),
		ring(0, afxdp.TX, 8), reg(0, 8192, afxdp.Reg{ChunkSize: 2048}), mapRing(0, afxdp.Fill), mapRing(0, afxdp.RX), mapRing(0, afxdp.TX),
		send(0), recv(0), stats(0),
		whole(1), bind(1, 0, 0, 0, -1), bind(1, 0, 1, afxdp.UseNeedWakeup, -1), mapRing(1, afxdp.Fill), mapRing(1, afxdp.TX), send(1), recv(1), stats(1),
	},
	"not bound": {send(0), recv(0), ring(0, afxdp.TX, 8), send(0), stats(0)},
	"send only": {
		ring(0, afxdp.TX, 8), ring(0, afxdp.Fill, 8), ring(0, afxdp.Completion, 8), reg(0, 8192, afxdp.Reg{ChunkSize: 2048}),
		bind(0, 0, 0, afxdp.Copy, -1), send(0), recv(0), stats(0), send(0), stats(0),
	},
	"shared": {
		whole(0), ring(1, afxdp.RX, 8), bind(1, 0, 0, afxdp.SharedUMEM, 0), bind(1, 0, 0, afxdp.SharedUMEM, -1),
		bind(0, 0, 0, afxdp.UseNeedWakeup, -1),
		bind(1, 0, 0, afxdp.SharedUMEM|afxdp.Copy, 0), bind(1, 0, 0, afxdp.SharedUMEM|afxdp.UseNeedWakeup, 0), bind(1, 0, 1, afxdp.SharedUMEM, 0),
		bind(1, 0, 0, afxdp.SharedUMEM, 0), stats(1), mapRing(1, afxdp.Fill),
		whole(2), bind(2, 0, 1, afxdp.SharedUMEM, 0),
		ring(3, afxdp.RX, 8), ring(3, afxdp.Fill, 8), bind(3, 0, 0, afxdp.SharedUMEM, 0), bind(3, 0, 1, afxdp.SharedUMEM, 0), ring(3, afxdp.Completion, 8),
		bind(3, 0, 1, afxdp.SharedUMEM, 0), bind(3, 1, 0, afxdp.SharedUMEM, 0), mapRing(3, afxdp.Fill),
		closes(0), ring(4, afxdp.RX, 8), bind(4, 0, 0, afxdp.SharedUMEM, 1), bind(4, 1, 0, afxdp.SharedUMEM, 1),
	},
}

// both runs a sequence on both engines and compares what was said.
func both(t *testing.T, steps []step) {
	var table maps.Sockets
	ours := &side{name: "skep", open: func() afxdp.Sys { return afxdp.NewSocket(&table) }, device: []any{newWire(2), newWire(2), nil}}
	index := func(name string) int {
		i, err := net.InterfaceByName(name)
		if err != nil {
			t.Error(err)
			return 0
		}
		return i.Index
	}
	kern := &side{name: "linux", device: []any{index("x"), index("y"), 4711}, open: func() afxdp.Sys {
		l, err := afxdp.NewLinux()
		oracle.Need(t, "an AF_XDP socket", err)
		return l
	}}
	for _, s := range []*side{ours, kern} {
		for _, f := range steps {
			f(s)
		}
		s.close()
	}
	for i := range kern.log {
		if ours.log[i] != kern.log[i] {
			t.Errorf("step %d: skep %s\n        linux %s", i, ours.log[i], kern.log[i])
		}
	}
}

// TestSetupAgainstKernel makes sockets in right and wrong ways.
func TestSetupAgainstKernel(t *testing.T) {
	for name, steps := range setups {
		t.Run(name, func(t *testing.T) { inNamespace(t, 2, func() { both(t, steps) }) })
	}
}
