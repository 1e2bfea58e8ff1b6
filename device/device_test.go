package device_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"testing"

	"github.com/skep-bpf/skep"
	"github.com/skep-bpf/skep/device"
	"github.com/skep-bpf/skep/hook"
	"github.com/skep-bpf/skep/image"
	"github.com/skep-bpf/skep/internal/capture"
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/testprog"
)

// engine is what the tests run programs on.
var engine skep.MachineOptions

func TestMain(m *testing.M) { os.Exit(testprog.EachEngine(m, &engine)) }

// script is a port that receives what it is given, then waits until the network
// is done with it, and keeps what it is to transmit.
type script struct {
	queues int
	mu     sync.Mutex
	in     [][]byte // of queue 0
	out    [][]byte
	full   int // frames Transmit has no room for
	done   chan struct{}
	once   sync.Once
}

func newScript(frames ...[]byte) *script {
	return &script{queues: 1, in: frames, done: make(chan struct{})}
}

func (s *script) Queues() int { return s.queues }

func (s *script) Receive(_ int, frames [][]byte) (int, error) {
	s.mu.Lock()
	n := 0
	for ; n < len(frames) && len(s.in) > 0; n++ {
		frames[n] = frames[n][:copy(frames[n], s.in[0])]
		s.in = s.in[1:]
	}
	s.mu.Unlock()
	if n == 0 {
		<-s.done
		return 0, io.EOF
	}
	return n, nil
}

func (s *script) Transmit(frames [][]byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(frames) - min(s.full, len(frames))
	for _, f := range frames[:n] {
		s.out = append(s.out, bytes.Clone(f))
	}
	return n, nil
}

func (s *script) Close() error { s.once.Do(func() { close(s.done) }); return nil }

func (s *script) sent() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.out)
}

// frame is an Ethernet frame that bears a number.
func frame(n byte) []byte {
	f := make([]byte, 60)
	f[0], f[12], f[13], f[14] = 2, 0x88, 0xb5, n
	return f
}

func frames(n int) (fs [][]byte) {
	for i := range n {
		fs = append(fs, frame(byte(i)))
	}
	return fs
}

type lab struct {
	t     *testing.T
	mach  *skep.Machine
	net   *device.Network
	coll  *skep.Collection
	mu    sync.Mutex
	stack map[string][][]byte
	wrong map[hook.XDPAction]int
}

// newLab makes a network whose devices a and b (indexes 2 and 3) are scripts.
func newLab(t *testing.T, maps []*image.Map, progs ...testprog.Prog) *lab {
	t.Helper()
	static := skep.NewStaticNet()
	m, err := skep.NewMachine(&skep.MachineOptions{CPUs: 2, Checked: engine.Checked, JIT: engine.JIT, Net: static})
	if err != nil {
		t.Fatal(err)
	}
	l := &lab{t: t, mach: m, stack: map[string][][]byte{}, wrong: map[hook.XDPAction]int{}}
	l.net = device.New(m, &device.Options{
		Net: static,
		Stack: func(d *device.Device, f []byte) {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.stack[d.Name()] = append(l.stack[d.Name()], bytes.Clone(f))
		},
		Exception: func(_ *device.Device, _ *skep.Program, a hook.XDPAction) {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.wrong[a]++
		},
	})
	if l.coll, err = m.LoadCollection(testprog.Image(t, maps, progs...)); err != nil {
		t.Fatalf("%+v", err)
	}
	t.Cleanup(func() { l.coll.Close(); m.Close() })
	return l
}

func (l *lab) add(name string, p device.Port) *device.Device {
	l.t.Helper()
	d, err := l.net.Add(name, p)
	if err != nil {
		l.t.Fatal(err)
	}
	return d
}

// run runs the network until nothing moves any more: the scripts' frames are all
// in, and closing the ports waits for what is on its way.
func (l *lab) run(until func() bool) {
	l.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- l.net.Run(ctx) }()
	for !until() {
		select {
		case err := <-done:
			l.t.Fatalf("it ended early: %v", err)
		default:
			runtime.Gosched()
		}
	}
	cancel()
	if err := <-done; err != nil {
		l.t.Fatal(err)
	}
}

func (l *lab) stacked(name string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.stack[name])
}

func xdp(name, text string) testprog.Prog {
	return testprog.Prog{Name: name, Type: catalog.ProgXDP, Text: text}
}

func cls(name, text string) testprog.Prog {
	return testprog.Prog{Name: name, Type: catalog.ProgSchedCls, Text: text}
}

// TestXDP: every verdict of a driver's hook is carried out and counted.
func TestXDP(t *testing.T) {
	for _, c := range []struct {
		name, text    string
		action        hook.XDPAction
		stack, out, b int
		dropped       uint64
		wrong         int
	}{
		{"drop", "r0 = 1\nexit", hook.XDPDrop, 0, 0, 0, 100, 0},
		{"pass", "r0 = 2\nexit", hook.XDPPass, 100, 0, 0, 0, 0},
		{"tx", "r0 = 3\nexit", hook.XDPTx, 0, 100, 0, 0, 0},
		{"aborted", "r0 = 0\nexit", hook.XDPAborted, 0, 0, 0, 100, 100},
		{"nonsense", "r0 = 99\nexit", hook.XDPAborted, 0, 0, 0, 100, 100},
		{"redirect", "r1 = 3\nr2 = 0\ncall bpf_redirect\nexit", hook.XDPRedirect, 0, 0, 100, 0, 0},
		{"redirect to nowhere", "r1 = 9\nr2 = 0\ncall bpf_redirect\nexit", hook.XDPRedirect, 0, 0, 0, 100, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t, nil, xdp("p", c.text))
			pa, pb := newScript(frames(100)...), newScript()
			a, b := l.add("a", pa), l.add("b", pb)
			if err := a.SetXDP(l.coll.Programs["p"], device.Native); err != nil {
				t.Fatal(err)
			}
			l.run(func() bool { return a.Stats().RxPackets == 100 })
			s := a.Stats()
			if s.XDP[c.action] != 100 || s.RxDropped != c.dropped || s.RxBytes != 6000 {
				t.Errorf("%+v", s)
			}
			if l.stacked("a") != c.stack || pa.sent() != c.out || pb.sent() != c.b || b.Stats().TxPackets != uint64(c.b) {
				t.Errorf("%d to the stack, %d out of a, %d out of b", l.stacked("a"), pa.sent(), pb.sent())
			}
			n := 0
			for _, w := range l.wrong {
				n += w
			}
			if n != c.wrong {
				t.Errorf("%d exceptions, want %d", n, c.wrong)
			}
			for i, f := range append(pa.out, pb.out...) {
				if !bytes.Equal(f, frame(byte(i))) {
					t.Fatalf("frame %d: % x", i, f)
				}
			}
		})
	}
}

// TestDevmapAndCPUMap: redirects through maps leave by their devices, and go up
// the stack on other CPUs, through the ingress hook there.
func TestDevmapAndCPUMap(t *testing.T) {
	maps := []*image.Map{
		{Name: "devs", Type: catalog.MapDevMap, KeySize: 4, ValueSize: 4, MaxEntries: 4},
		{Name: "cpus", Type: catalog.MapCPUMap, KeySize: 4, ValueSize: 4, MaxEntries: 4},
	}
	redirect := func(m int) string {
		return fmt.Sprintf("r1 = map_idx[%d] ll\nr2 = 1\nr3 = 0\ncall bpf_redirect_map\nexit", m)
	}
	// Frames that come up on another CPU than 1 are shot.
	onOne := "call bpf_get_smp_processor_id\nif r0 == 1 goto ok\nr0 = 2\nexit\nok:\nr0 = 0\nexit"
	l := newLab(t, maps, xdp("dev", redirect(0)), xdp("cpu", redirect(1)), cls("one", onOne))
	pa, pb := newScript(frames(50)...), newScript(frames(40)...)
	a, b := l.add("a", pa), l.add("b", pb)
	for name, v := range map[string]uint32{"devs": b.Index(), "cpus": 64} {
		if err := l.coll.Maps[name].Put(uint32(1), v); err != nil {
			t.Fatal(err)
		}
	}
	a.SetXDP(l.coll.Programs["dev"], device.Native)
	b.SetXDP(l.coll.Programs["cpu"], device.Native)
	if _, err := b.Ingress().Add(hook.Filter{Program: l.coll.Programs["one"], Direct: true}); err != nil {
		t.Fatal(err)
	}
	l.run(func() bool { return pb.sent() == 50 && l.stacked("b") == 40 })
	if d := b.Stats().RxDropped; d != 0 {
		t.Errorf("%d were dropped", d)
	}
}

// TestTC: filters on the way in and out, redirects out and in, clones.
func TestTC(t *testing.T) {
	to := func(index, flags int, call string) string {
		if call == "clone" {
			return fmt.Sprintf("r2 = %d\nr3 = %d\ncall bpf_clone_redirect\nr0 = 0\nexit", index, flags)
		}
		return fmt.Sprintf("r1 = %d\nr2 = %d\ncall bpf_redirect\nexit", index, flags)
	}
	odd := "r6 = r1\nr2 = 14\nr3 = r10\nr3 += -8\nr4 = 1\ncall bpf_skb_load_bytes\nr0 = *(u8 *)(r10 - 8)\nr0 &= 1\nr0 <<= 1\nexit"
	type filters map[string][]string // device and direction → programs
	for _, c := range []struct {
		name             string
		progs            []testprog.Prog
		at               filters
		stackA, stackB   int
		outA, outB       int
		droppedA, shotTx uint64
	}{
		{"every other is shot", []testprog.Prog{cls("odd", odd)}, filters{"a in": {"odd"}}, 50, 0, 0, 0, 50, 0},
		{"out of b", []testprog.Prog{cls("b", to(3, 0, ""))}, filters{"a in": {"b"}}, 0, 0, 0, 100, 0, 0},
		{"into b", []testprog.Prog{cls("b", to(3, 1, ""))}, filters{"a in": {"b"}}, 0, 100, 0, 0, 0, 0},
		{"a copy out of b", []testprog.Prog{cls("b", to(3, 0, "clone"))}, filters{"a in": {"b"}}, 100, 0, 0, 100, 0, 0},
		{"a copy into b", []testprog.Prog{cls("b", to(3, 1, "clone"))}, filters{"a in": {"b"}}, 100, 100, 0, 0, 0, 0},
		{"b's egress shoots", []testprog.Prog{cls("b", to(3, 0, "")), cls("odd", odd)}, filters{"a in": {"b"}, "b out": {"odd"}}, 0, 0, 0, 50, 0, 50},
		{"b's egress sends back", []testprog.Prog{cls("b", to(3, 0, "")), cls("a", to(2, 0, ""))}, filters{"a in": {"b"}, "b out": {"a"}}, 0, 0, 100, 0, 0, 0},
		{"in a circle", []testprog.Prog{cls("b", to(3, 0, "")), cls("a", to(2, 0, ""))}, filters{"a in": {"b"}, "b out": {"a"}, "a out": {"b"}}, 0, 0, 0, 0, 0, 100},
		{"into itself, for ever", []testprog.Prog{cls("a", to(2, 1, ""))}, filters{"a in": {"a"}}, 0, 0, 0, 0, 100, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t, nil, c.progs...)
			pa, pb := newScript(frames(100)...), newScript()
			a, b := l.add("a", pa), l.add("b", pb)
			for at, names := range c.at {
				h := map[string]*hook.Clsact{"a in": a.Ingress(), "a out": a.Egress(), "b in": b.Ingress(), "b out": b.Egress()}[at]
				for _, n := range names {
					if _, err := h.Add(hook.Filter{Program: l.coll.Programs[n], Direct: true}); err != nil {
						t.Fatal(err)
					}
				}
			}
			l.run(func() bool { return a.Stats().RxPackets >= 100 })
			if l.stacked("a") != c.stackA || l.stacked("b") != c.stackB || pa.sent() != c.outA || pb.sent() != c.outB {
				t.Errorf("stack %d, %d; out %d, %d", l.stacked("a"), l.stacked("b"), pa.sent(), pb.sent())
			}
			if sa, sb := a.Stats(), b.Stats(); sa.RxDropped != c.droppedA || sa.TxDropped+sb.TxDropped != c.shotTx {
				t.Errorf("%+v\n%+v", sa, sb)
			}
		})
	}
}

// TestPairs: a packet goes through two cables and a redirect between them, in
// generic mode too.
func TestPairs(t *testing.T) {
	l := newLab(t, nil, cls("in", "r1 = 3\nr2 = 0\ncall bpf_redirect_peer\nexit"), xdp("x", "r0 = 2\nexit"))
	pa := newScript(frames(64)...)
	a := l.add("a", pa)
	b, c, err := l.net.AddPair("b", "c")
	if err != nil {
		t.Fatal(err)
	}
	if b.Peer() != c || c.Peer() != b || a.Peer() != nil || l.net.Device(c.Index()) != c {
		t.Error("the pair does not know itself")
	}
	if _, err := a.Ingress().Add(hook.Filter{Program: l.coll.Programs["in"], Direct: true}); err != nil {
		t.Fatal(err)
	}
	c.SetXDP(l.coll.Programs["x"], device.Generic)
	l.run(func() bool { return l.stacked("c") == 64 })
	if n := c.Stats().XDP[hook.XDPPass]; n != 64 {
		t.Errorf("%d passed generic XDP", n)
	}
	if p, mode := c.XDP(); p != l.coll.Programs["x"] || mode.String() != "generic" {
		t.Errorf("%v, %v", p, mode)
	}
}

// TestFull: what a port has no room for is counted.
func TestFull(t *testing.T) {
	l := newLab(t, nil, xdp("tx", "r0 = 3\nexit"))
	pa := newScript(frames(32)...)
	pa.full = 4 // of every 16
	a := l.add("a", pa)
	a.SetXDP(l.coll.Programs["tx"], device.Native)
	l.run(func() bool { return a.Stats().TxPackets+a.Stats().TxDropped == 32 })
	if s := a.Stats(); s.TxDropped != 8 || s.TxBytes != 24*60 {
		t.Errorf("%+v", s)
	}
}

// TestCaptures: from one capture to another, which appears when it is whole.
func TestCaptures(t *testing.T) {
	l := newLab(t, nil, xdp("tx", "r0 = 3\nexit"))
	out := filepath.Join(t.TempDir(), "out.pcap")
	c, err := device.OpenCaptures("../examples/captures/web.pcap", out)
	if err != nil {
		t.Fatal(err)
	}
	a := l.add("a", c)
	a.SetXDP(l.coll.Programs["tx"], device.Native)
	if err := l.net.Run(context.Background()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(out); err == nil {
		t.Error("the output is there before it is whole")
	}
	if err := c.Commit(); err != nil {
		t.Fatal(err)
	}
	count := func(name string) (n int) {
		r, err := capture.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		for ; err == nil; n++ {
			_, err = r.Next()
		}
		return n - 1
	}
	if in, got := count("../examples/captures/web.pcap"), count(out); in != got || in != 74 {
		t.Errorf("%d of %d packets", got, in)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

// TestRefused: what cannot be is said.
func TestRefused(t *testing.T) {
	l := newLab(t, nil, cls("c", "r0 = 0\nexit"))
	a := l.add("a", newScript())
	if err := a.SetXDP(l.coll.Programs["c"], device.Native); err == nil {
		t.Error("a classifier at the XDP hook")
	}
	if _, err := l.net.Add("a", newScript()); err == nil {
		t.Error("two devices of one name")
	}
	if _, _, err := l.net.AddPair("b", "a"); err == nil || l.net.Device(3) != nil {
		t.Errorf("half a pair: %v", err)
	}
	if _, err := device.OpenCaptures("nowhere.pcap", ""); err == nil {
		t.Error("a capture that is not there")
	}
}

// TestTags: a VLAN tag is taken off behind XDP, programs see it beside the packet, and it is back
// where the packet leaves; copies have it too, and a second tag goes before it.
func TestTags(t *testing.T) {
	tagged := append(append(frame(1)[:12:12], 0x81, 0, 0x60, 5), frame(1)[12:]...)
	twice := append(append(frame(1)[:12:12], 0x88, 0xa8, 0, 9), tagged[12:]...)
	for _, push := range []bool{false, true} {
		l := newLab(t, nil,
			cls("out", "r6 = r1\nr7 = *(u32 *)(r6 + 24)\nif r7 != 0x6005 goto +4\nr1 = r6\nr2 = 3\nr3 = 0\ncall 13\nr1 = 3\nr2 = 0\ncall 23\nexit"),
			cls("push", "r2 = 0xa888\nr3 = 9\ncall 18\nr0 = 0\nexit"))
		in, out := newScript(tagged, frame(2)), newScript()
		a, b := l.add("a", in), l.add("b", out)
		want := [][]byte{tagged, tagged, frame(2)}
		if err := a.Ingress().AttachTCX(l.coll.Programs["out"], 0); err != nil {
			t.Fatal(err)
		}
		if push {
			want[0], want[1] = twice, twice
			want[2] = append(append(frame(2)[:12:12], 0x88, 0xa8, 0, 9), frame(2)[12:]...)
			if err := b.Egress().AttachTCX(l.coll.Programs["push"], 0); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.net.Start(); err != nil {
			t.Fatal(err)
		}
		for out.sent() < len(want) {
			runtime.Gosched()
		}
		if err := l.net.Stop(); err != nil {
			t.Fatal(err)
		}
		slices.SortFunc(out.out, bytes.Compare)
		slices.SortFunc(want, bytes.Compare)
		bytesSent := 0
		for i, f := range out.out {
			bytesSent += len(f)
			if !bytes.Equal(f, want[i]) {
				t.Errorf("push %v: got  % x\nwant % x", push, f, want[i])
			}
		}
		if n := b.Stats().TxBytes; n != uint64(bytesSent) {
			t.Errorf("%d bytes counted, %d sent", n, bytesSent)
		}
	}
}
