package helpers

import (
	"testing"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/maps"
	"github.com/skep-bpf/skep/internal/mem"
	"github.com/skep-bpf/skep/internal/packet"
	"github.com/skep-bpf/skep/internal/socket"
)

// testHost is a Host of fixed time and chance.
type testHost struct {
	kernel   map[uint64]KernelSock
	registry maps.Registry
	maps     []maps.Map
	net      packet.Net
	lines    []string
	process  Process
	timers   *timers
	offset   uint64 // of the clock, ns
	sockets  socket.Table
	objects  maps.Objects
	groups   map[uint64]uint64
}

func newTestHost(t *testing.T) *testHost {
	return &testHost{net: packet.NewStaticNet(), process: Process{
		PID: 7, TGID: 5, UID: 1000, GID: 100, Comm: [16]byte{'s', 'k', 'e', 'p'},
	}}
}

// newMap makes a map of the host.
func (h *testHost) newMap(t *testing.T, def catalog.MapDef) maps.Map {
	t.Helper()
	m, err := maps.New(&maps.Config{CPUs: h.CPUs(), Sock: h.sock, SockAt: h.Socket, Object: h.objects.ByNumber}, def)
	if err != nil {
		t.Fatalf("map %s: %v", def.Name, err)
	}
	if err := h.registry.Add(m); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	h.maps = append(h.maps, m)
	return m
}

func (h *testHost) newPacket(t *testing.T) *packet.Packet {
	t.Helper()
	p, err := packet.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Free)
	return p
}

func (h *testHost) Map(ptr uint64) maps.Map           { return h.registry.ByPtr(ptr) }
func (h *testHost) Monotonic() uint64                 { return 1_234_567_890 + h.offset }
func (h *testHost) Boot() uint64                      { return 2_000_000_000 }
func (h *testHost) Real() uint64                      { return 1_700_000_000_000_000_000 }
func (h *testHost) TAI() uint64                       { return 1_700_000_037_000_000_000 }
func (h *testHost) Jiffies() uint64                   { return 4_295_000_000 }
func (h *testHost) Random(int) uint32                 { return 4 }
func (h *testHost) CPUs() int                         { return 2 }
func (h *testHost) Trace(_ int, _ *Prog, line []byte) { h.lines = append(h.lines, string(line)) }
func (h *testHost) Socket(addr uint64) *socket.Socket { return h.sockets.At(addr) }
func (h *testHost) KernelSock(addr uint64) KernelSock { return h.kernel[addr] }
func (h *testHost) Net() packet.Net                   { return h.net }

func (h *testHost) GroupAbove(group uint64) (uint64, bool) {
	above, ok := h.groups[group]
	return above, ok
}

func (h *testHost) Timers() Timers    { return h.timers }
func (h *testHost) Process() *Process { return &h.process }

// newScratch returns off-heap memory for a test.
func newScratch(t *testing.T, n int) *mem.Block {
	t.Helper()
	b, err := mem.Alloc(n)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Free)
	return b
}

// sock resolves the numbers of the host's sockets.
func (h *testHost) sock(number uint32) (*socket.Socket, error) {
	if s := h.sockets.Get(number); s != nil {
		return s, nil
	}
	return nil, errno.EBADF
}

// newSocket makes a socket of the host.
func (h *testHost) newSocket(t *testing.T, spec socket.Spec) *socket.Socket {
	t.Helper()
	s, err := socket.New(spec, 100)
	if err != nil {
		t.Fatal(err)
	}
	h.sockets.Number(s)
	t.Cleanup(func() { s.Close() })
	return s
}
