package device_test

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	gocmp "github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/skep-bpf/skep"
	"github.com/skep-bpf/skep/device"
	"github.com/skep-bpf/skep/internal/oracle"
	"github.com/skep-bpf/skep/internal/oracle/netns"
)

// event is struct event of testdata/events.c.
type event struct {
	Kind, Prog, Ifindex uint32
	V                   [6]int32
}

// eventMap is a map of the object, here or in the kernel.
type eventMap interface {
	Lookup(key, value any) error
	Put(key, value any) error
}

// eventWorld is where the object is at work: on device near, beside a device that is up, its peer, one that is down,
// and two that cannot send frames of XDP.
type eventWorld struct {
	maps map[string]eventMap
	prog map[string]uint32 // what stands for a program in a map's value
	// What the numbers of programs, maps and devices stand for.
	ids, mapIDs map[uint32]string
	devs        map[string]uint32
	send        func(f []byte) error
}

// The kinds of struct event.
var eventNames = [...]string{"", "exception", "redirect", "redirect_err", "exception record", "redirect record", "redirect_err record",
	"received", "queued", "received record", "queued record"}

// device is a device's name, as indexes differ from world to world; the number, if it is none.
func (w *eventWorld) device(n int32) string {
	for name, index := range w.devs {
		if index == uint32(n) {
			return name
		}
	}
	return fmt.Sprint(n)
}

// show is an event as text.
func (w *eventWorld) show(e *event) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s on %s", eventNames[e.Kind], w.device(int32(e.Ifindex)))
	if e.Prog != 0 {
		fmt.Fprintf(&b, " by %s", w.ids[e.Prog])
	}
	v := e.V
	index := func(of, v int32) string {
		if of == math.MaxInt32 { // no map
			return w.device(v)
		}
		return fmt.Sprint(v)
	}
	switch strings.TrimSuffix(eventNames[e.Kind], " record") {
	case "exception":
		fmt.Fprintf(&b, ": action %d", v[0])
	case "received", "queued":
		name := binary.NativeEndian.AppendUint32(nil, uint32(v[1]))
		fmt.Fprintf(&b, ": %d bytes, %q, %v", v[0], name, v[2:])
	case "redirect", "redirect_err":
		if strings.HasSuffix(eventNames[e.Kind], "record") {
			fmt.Fprintf(&b, ": action %d, error %d, to %s, map %s %t, index %d", v[0], v[1], w.device(v[2]), w.mapIDs[uint32(v[3])], v[3] == math.MaxInt32, v[4])
		} else {
			fmt.Fprintf(&b, ": target %d, error %d, map of type %d %s %t, index %s", v[0], v[1], v[2], w.mapIDs[uint32(v[3])], v[3] == math.MaxInt32, index(v[3], v[4]))
		}
	}
	return b.String()
}

// fill sets the maps. Redirects that go well go to a device.
func (w *eventWorld) fill(to string) error {
	type entry struct{ At, Prog uint32 }
	at := w.devs[to]
	for _, p := range []struct {
		m          string
		key, value any
	}{
		{"to", uint32(0), at}, {"to", uint32(1), w.devs["dead"]},
		{"devs", uint32(0), entry{at, 0}}, {"devs", uint32(1), entry{w.devs["dead"], 0}}, {"devs", uint32(2), entry{at, w.prog["entry"]}},
		{"cpus", uint32(0), entry{64, w.prog["oncpu"]}},
		{"mine", w.devs["near"] | 1<<31, uint32(0)}, {"mine", w.devs["live"] | 1<<31, uint32(0)},
	} {
		if err := w.maps[p.m].Put(p.key, p.value); err != nil {
			return fmt.Errorf("%s[%v]: %w", p.m, p.key, err)
		}
	}
	for id := range w.ids {
		if err := w.maps["mine"].Put(id, uint32(0)); err != nil {
			return err
		}
	}
	return nil
}

// events sends a frame that bears two numbers and returns what it caused: as soon as there are want events,
// or, without, as soon as a second frame was seen after it.
func (w *eventWorld) events(does, then byte, want int) ([]string, error) {
	count := func(which uint32) (n uint32) {
		w.maps["counts"].Lookup(which, &n)
		return n
	}
	wait := func(done func() bool) bool {
		for end := time.Now().Add(10 * time.Second); !done(); runtime.Gosched() {
			if time.Now().After(end) {
				return false
			}
		}
		return true
	}
	const noted, ran, second = 0, 1, 2
	from := count(noted)
	f := frame(does)
	f[13], f[15] = 0xb6, then
	for range 2 {
		before := count(ran)
		if err := w.send(f); err != nil {
			return nil, err
		}
		if !wait(func() bool { return count(ran) > before }) {
			return nil, fmt.Errorf("frame %d does not arrive", f[14])
		}
		if f[14] != 0 {
			wait(func() bool { return count(noted) >= from+uint32(want) })
		}
		f[14] = 0
	}
	var out []string
	for i := from; i < count(noted); i++ {
		var e event
		if err := w.maps["events"].Lookup(i, &e); err != nil {
			return nil, err
		}
		out = append(out, w.show(&e))
	}
	slices.Sort(out) // those attached to one event come in no order of their own
	return out, nil
}

// eventCases are the numbers frames bear: what the program does, and what the entry's program returns.
var eventCases = []struct {
	name       string
	does, then byte
	to         string // "": live
}{
	{"aborted", 1, 0, ""}, {"an action that is none", 2, 0, ""},
	{"to no device", 3, 0, ""}, {"to a device that is down", 4, 0, ""}, {"without a target", 5, 0, ""},
	{"to an empty entry", 6, 0, ""}, {"to an empty entry, all the same", 7, 0, ""},
	{"to an entry", 8, 0, ""}, {"to an entry that is down", 9, 0, ""},
	{"to an entry with a program", 10, 2, ""}, {"its program aborts", 10, 0, ""}, {"its program drops", 10, 1, ""}, {"its program returns what is no action", 10, 77, ""},
	{"its program transmits", 10, 3, ""}, {"to all of none", 11, 0, ""}, {"to all", 12, 2, ""},
	{"to a CPU", 13, 1, ""}, {"its program aborts", 13, 0, ""}, {"its program returns what is no action", 13, 77, ""}, {"to no CPU", 14, 0, ""},
	{"to a device", 15, 0, ""}, {"up the stack and on", 16, 0, ""}, {"to an empty entry, then to no device", 17, 0, ""}, {"with a flag", 18, 0, ""},
	{"to lo", 15, 0, "lo"}, {"to an entry of lo", 8, 0, "lo"}, {"to an entry of lo with a program", 10, 2, "lo"}, {"to all, one of them lo", 12, 2, "lo"},
	{"to a bare pair", 15, 0, "bare"}, {"to an entry of a bare pair", 8, 0, "bare"},
	{"to an entry of a bare pair with a program", 10, 0, "bare"}, {"to all, one of them a bare pair", 12, 0, "bare"},
}

func skepEvents(t *testing.T) *eventWorld {
	static := skep.NewStaticNet()
	m, err := skep.NewMachine(&skep.MachineOptions{CPUs: 1, Checked: engine.Checked, JIT: engine.JIT, Net: static})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	coll, err := m.LoadCollectionFile("testdata/events.o")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(coll.Close)
	n := device.New(m, &device.Options{Net: static})
	outside, port := device.NewPair()
	w := &eventWorld{maps: map[string]eventMap{}, prog: map[string]uint32{}, ids: map[uint32]string{}, mapIDs: map[uint32]string{}, devs: map[string]uint32{}}
	a, err := n.Add("near", port)
	if err != nil {
		t.Fatal(err)
	}
	up, peer, err := n.AddPair("live", "peer")
	if err != nil {
		t.Fatal(err)
	}
	bare, _, err := n.AddPair("bare", "bare2")
	if err != nil {
		t.Fatal(err)
	}
	lo, err := n.AddDevice(device.Attributes{Name: "lo", Index: 1}, device.NewLoop())
	if err != nil {
		t.Fatal(err)
	}
	_, port2 := device.NewPair()
	down, err := n.Add("dead", port2)
	if err != nil {
		t.Fatal(err)
	}
	down.SetUp(false)
	for _, d := range []*device.Device{a, up, down, bare, lo} {
		w.devs[d.Name()] = d.Index()
	}
	for name, m := range coll.Maps {
		w.maps[name] = m
		w.mapIDs[m.ID()] = name
	}
	for _, name := range []string{"does", "entry", "oncpu"} {
		id := coll.Programs[name].ID()
		w.prog[name], w.ids[id] = id, name
	}
	for name, p := range coll.Programs {
		if how, event, ok := strings.Cut(name, "_"); ok && (how == "typed" || how == "record") {
			l, err := m.Tracepoint(tracepoints[event][1]).Attach(p, 0)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { l.Close() })
		}
	}
	if err := w.fill("live"); err != nil {
		t.Fatal(err)
	}
	for d, p := range map[*device.Device]string{a: "does", peer: "drops"} {
		if err := d.SetXDP(coll.Programs[p], device.Native); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.Ingress().AttachTCX(coll.Programs["onward"], 0); err != nil {
		t.Fatal(err)
	}
	w.send = func(f []byte) error {
		_, err := outside.Transmit([][]byte{f})
		return err
	}
	if err := n.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Stop(); err != nil {
			t.Error(err)
		}
	})
	return w
}

// tracepoints are the groups and names of the events that programs of the object are called after.
var tracepoints = map[string][2]string{
	"exception": {"xdp", "xdp_exception"}, "redirect": {"xdp", "xdp_redirect"}, "redirect_err": {"xdp", "xdp_redirect_err"},
	"received": {"net", "netif_receive_skb"}, "queued": {"net", "net_dev_queue"},
}

// inKernel runs f in a network namespace where the object is at work.
func inKernel(t *testing.T, mode link.XDPAttachFlags, f func(w *eventWorld)) {
	netns.In(t, func() {
		w := &eventWorld{maps: map[string]eventMap{}, prog: map[string]uint32{}, ids: map[uint32]string{}, mapIDs: map[uint32]string{}, devs: map[string]uint32{}}
		netns.Pair(t, "far0", "near", 1)
		netns.Pair(t, "live", "peer", 1)
		netns.Pair(t, "bare", "bare2", 1)
		_, down := netns.TAP(t, "dead", 0)
		netns.IP(t, "link set dead down")
		for _, name := range []string{"far0", "near", "live", "peer", "bare", "lo"} {
			w.devs[name] = uint32(netns.Up(t, name))
		}
		w.devs["dead"] = uint32(down)
		spec, err := ebpf.LoadCollectionSpec("testdata/events.o")
		if err != nil {
			t.Error(err)
			return
		}
		coll, err := ebpf.NewCollection(spec)
		oracle.Need(t, "bpf(2)", err)
		defer coll.Close()
		for name, m := range coll.Maps {
			w.maps[name] = m
			if info, err := m.Info(); err == nil {
				id, _ := info.ID()
				w.mapIDs[uint32(id)] = name
			}
		}
		for _, name := range []string{"does", "entry", "oncpu"} {
			info, err := coll.Programs[name].Info()
			if err != nil {
				t.Error(err)
				return
			}
			id, _ := info.ID()
			w.prog[name], w.ids[uint32(id)] = uint32(coll.Programs[name].FD()), name
		}
		for name, p := range coll.Programs {
			how, event, _ := strings.Cut(name, "_")
			var l link.Link
			switch how {
			case "typed":
				l, err = link.AttachTracing(link.TracingOptions{Program: p})
			case "record":
				l, err = link.Tracepoint(tracepoints[event][0], tracepoints[event][1], p, nil)
			default:
				continue
			}
			oracle.Need(t, "the kernel's events", err)
			defer l.Close()
		}
		if err := w.fill("live"); err != nil {
			t.Error(err)
			return
		}
		// Redirects to a veth device need a program on its peer.
		for name, at := range map[string]string{"does": "near", "drops": "peer"} {
			l, err := link.AttachXDP(link.XDPOptions{Program: coll.Programs[name], Interface: int(w.devs[at]), Flags: mode})
			oracle.Need(t, "xdp", err)
			defer l.Close()
		}
		l, err := link.AttachTCX(link.TCXOptions{Interface: int(w.devs["near"]), Program: coll.Programs["onward"], Attach: ebpf.AttachTCXIngress})
		oracle.Need(t, "tcx", err)
		defer l.Close()
		sock, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		oracle.Need(t, "a packet socket", err)
		defer unix.Close(sock)
		w.send = func(f []byte) error {
			return unix.Sendto(sock, f, 0, &unix.SockaddrLinklayer{Ifindex: int(w.devs["far0"])})
		}
		f(w)
	})
}

// TestEventsAsTheKernel: what XDP programs do wrong, and where packets go, is told by the same events.
func TestEventsAsTheKernel(t *testing.T) {
	ours := skepEvents(t)
	seen := map[string]bool{}
	inKernel(t, link.XDPDriverMode, func(w *eventWorld) {
		for _, c := range eventCases {
			for _, w := range []*eventWorld{ours, w} {
				if err := w.fill(cmp.Or(c.to, "live")); err != nil {
					t.Error(err)
					return
				}
			}
			got, err := ours.events(c.does, c.then, 0)
			if err != nil {
				t.Errorf("skep: %s: %v", c.name, err)
				return
			}
			want, err := w.events(c.does, c.then, len(got))
			if err != nil {
				t.Errorf("the kernel: %s: %v", c.name, err)
				return
			}
			for _, e := range want {
				what, _, _ := strings.Cut(e, " on ")
				seen[what] = true
			}
			if d := gocmp.Diff(want, got); d != "" {
				t.Errorf("%s: -kernel +skep\n%s", c.name, d)
			}
		}
		if len(seen) != len(eventNames)-1 {
			t.Errorf("of the events only %v came", seen)
		}
	})
}
