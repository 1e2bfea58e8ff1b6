package hook_test

import (
	"bytes"
	"errors"
	"os"
	"reflect"
	"testing"

	"github.com/skep-bpf/skep"
	"github.com/skep-bpf/skep/hook"
	"github.com/skep-bpf/skep/image"
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/testprog"
)

// engine is what the tests run programs on.
var engine skep.MachineOptions

func TestMain(m *testing.M) { os.Exit(testprog.EachEngine(m, &engine)) }

func setup(t *testing.T, maps []*image.Map, progs ...testprog.Prog) (*skep.Machine, *skep.Collection) {
	t.Helper()
	net := skep.NewStaticNet()
	for i := uint32(1); i <= 9; i++ {
		net.AddDevice(skep.Device{Ifindex: i, MTU: 1500, Up: true})
	}
	m, err := skep.NewMachine(&skep.MachineOptions{CPUs: 2, Checked: engine.Checked, JIT: engine.JIT, Net: net})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	coll, err := m.LoadCollection(testprog.Image(t, maps, progs...))
	if err != nil {
		t.Fatalf("%+v", err)
	}
	t.Cleanup(coll.Close)
	return m, coll
}

// where is what a test expects of deliveries, without the bytes.
func where(ds []hook.Delivery) (out []hook.Delivery) {
	for _, d := range ds {
		d.Packet = nil
		out = append(out, d)
	}
	return out
}

func packet() []byte {
	p := make([]byte, 64)
	for i := range p {
		p[i] = byte(i)
	}
	return p
}

func xdp(name, text string) testprog.Prog {
	return testprog.Prog{Name: name, Type: catalog.ProgXDP, Text: text}
}

func TestXDPActions(t *testing.T) {
	for _, tc := range []struct {
		ret       string
		action    hook.XDPAction
		want      []hook.Delivery
		exception bool
	}{
		{"0", hook.XDPAborted, nil, true},
		{"1", hook.XDPDrop, nil, false},
		{"2", hook.XDPPass, []hook.Delivery{{To: hook.ToStack}}, false},
		{"3", hook.XDPTx, []hook.Delivery{{To: hook.ToDevice, Ifindex: 3}}, false},
		{"4", hook.XDPRedirect, nil, false}, // without having named a target
		{"77", 77, nil, true},
	} {
		m, coll := setup(t, nil, xdp("p", "r0 = "+tc.ret+"\nexit"))
		raised := false
		x, err := hook.NewXDP(m, coll.Programs["p"], &hook.XDPOptions{Exception: func(uint32, *skep.Program, hook.XDPAction) { raised = true }})
		if err != nil {
			t.Fatal(err)
		}
		action, ds, err := x.Run(packet(), hook.Meta{Ifindex: 3})
		if err != nil || action != tc.action || !reflect.DeepEqual(where(ds), tc.want) || raised != tc.exception {
			t.Errorf("return %s: %v, %v, exception %v, %v; want %v, %v, %v", tc.ret, action, ds, raised, err, tc.action, tc.want, tc.exception)
		}
		x.Close()
	}
}

// redirect sends every packet to entry R3's choice of map 0.
const redirect = `
	r1 = map_idx[0] ll
	r2 = 1
	r3 = 0
	call bpf_redirect_map
	exit
`

func TestXDPRedirectMapWithProgram(t *testing.T) {
	dev := &image.Map{Name: "dev", Type: catalog.MapDevMap, KeySize: 4, ValueSize: 8, MaxEntries: 4}
	m, coll := setup(t, []*image.Map{dev}, xdp("to", redirect),
		testprog.Prog{Name: "at", Type: catalog.ProgXDP, Attach: catalog.AttachXDPDevMap, Text: `
			r0 = *(u32 *)(r1 + 20)   # egress_ifindex
			if r0 == 5 goto pass
			r0 = 1
			exit
		pass:	r0 = 2
			exit`})
	x, err := hook.NewXDP(m, coll.Programs["to"], nil)
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()

	action, ds, err := x.Run(packet(), hook.Meta{})
	if err != nil || action != hook.XDPAborted || len(ds) != 0 {
		t.Errorf("empty entry: %v, %v, %v; want the fallback action and no delivery", action, ds, err)
	}
	type entry struct{ Ifindex, Prog uint32 }
	for _, tc := range []struct {
		ifindex uint32
		want    []hook.Delivery
	}{
		{5, []hook.Delivery{{To: hook.ToDevice, Ifindex: 5}}},
		{6, nil}, // the entry's own program drops it
	} {
		if err := coll.Maps["dev"].Put(uint32(1), entry{tc.ifindex, coll.Programs["at"].ID()}); err != nil {
			t.Fatal(err)
		}
		action, ds, err = x.Run(packet(), hook.Meta{})
		if err != nil || action != hook.XDPRedirect || !reflect.DeepEqual(where(ds), tc.want) {
			t.Errorf("to device %d: %v, %v, %v; want %v", tc.ifindex, action, ds, err, tc.want)
		}
	}
}

func TestXDPBroadcast(t *testing.T) {
	dev := &image.Map{Name: "dev", Type: catalog.MapDevMap, KeySize: 4, ValueSize: 4, MaxEntries: 4}
	m, coll := setup(t, []*image.Map{dev}, xdp("all", `
		r1 = map_idx[0] ll
		r2 = 0
		r3 = 24                 # BPF_F_BROADCAST | BPF_F_EXCLUDE_INGRESS
		call bpf_redirect_map
		exit`))
	for i, ifindex := range []uint32{2, 3, 4} {
		if err := coll.Maps["dev"].Put(uint32(i), ifindex); err != nil {
			t.Fatal(err)
		}
	}
	x, err := hook.NewXDP(m, coll.Programs["all"], nil)
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	_, ds, err := x.Run(packet(), hook.Meta{Ifindex: 3})
	want := []hook.Delivery{{To: hook.ToDevice, Ifindex: 2}, {To: hook.ToDevice, Ifindex: 4}}
	if err != nil || !reflect.DeepEqual(where(ds), want) {
		t.Fatalf("got %v, %v; want %v", where(ds), err, want)
	}
	for _, d := range ds {
		if !bytes.Equal(d.Packet, packet()) {
			t.Errorf("device %d got %x", d.Ifindex, d.Packet)
		}
	}
}

func TestXDPCPUMapRunsOnItsCPU(t *testing.T) {
	cpu := &image.Map{Name: "cpu", Type: catalog.MapCPUMap, KeySize: 4, ValueSize: 8, MaxEntries: 2}
	m, coll := setup(t, []*image.Map{cpu}, xdp("to", redirect),
		testprog.Prog{Name: "at", Type: catalog.ProgXDP, Attach: catalog.AttachXDPCPUMap, Text: `
			call bpf_get_smp_processor_id
			r0 += 1                  # XDP_PASS on CPU 1, XDP_DROP on CPU 0
			exit`})
	type entry struct{ Qsize, Prog uint32 }
	if err := coll.Maps["cpu"].Put(uint32(1), entry{64, coll.Programs["at"].ID()}); err != nil {
		t.Fatal(err)
	}
	x, err := hook.NewXDP(m, coll.Programs["to"], &hook.XDPOptions{CPU: 0})
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	_, ds, err := x.Run(packet(), hook.Meta{})
	if want := []hook.Delivery{{To: hook.ToCPU, CPU: 1}}; err != nil || !reflect.DeepEqual(where(ds), want) {
		t.Fatalf("got %v, %v; want %v", where(ds), err, want)
	}
	if !bytes.Equal(ds[0].Packet, packet()) {
		t.Errorf("packet changed on the way: %x", ds[0].Packet)
	}
}

// TestXDPFromCPUToCPU: the program of a cpumap's entry sends the packet on to another CPU.
func TestXDPFromCPUToCPU(t *testing.T) {
	cpu := &image.Map{Name: "cpu", Type: catalog.MapCPUMap, KeySize: 4, ValueSize: 8, MaxEntries: 2}
	m, coll := setup(t, []*image.Map{cpu}, xdp("to", redirect),
		testprog.Prog{Name: "on", Type: catalog.ProgXDP, Attach: catalog.AttachXDPCPUMap, Text: `
			r1 = map_idx[0] ll
			r2 = 0
			r3 = 0
			call bpf_redirect_map
			exit`})
	type entry struct{ Qsize, Prog uint32 }
	if err := errors.Join(coll.Maps["cpu"].Put(uint32(1), entry{64, coll.Programs["on"].ID()}),
		coll.Maps["cpu"].Put(uint32(0), entry{64, 0})); err != nil {
		t.Fatal(err)
	}
	x, err := hook.NewXDP(m, coll.Programs["to"], &hook.XDPOptions{CPU: 0})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		_, ds, err := x.Run(packet(), hook.Meta{})
		if want := []hook.Delivery{{To: hook.ToCPU, CPU: 0}}; err != nil || !reflect.DeepEqual(where(ds), want) {
			t.Fatalf("got %v, %v; want %v", where(ds), err, want)
		}
	}
	x.Close()
	for id := range m.CPUs() { // all CPUs are back
		c, err := m.HoldCPU(id)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Release()
	}
}

func TestTC(t *testing.T) {
	cls := func(text string) testprog.Prog {
		return testprog.Prog{Name: "p", Type: catalog.ProgSchedCls, Text: text}
	}
	redirectTo := func(flags string) string {
		return "r1 = 4\nr2 = " + flags + "\ncall bpf_redirect\nexit"
	}
	act := testprog.Prog{Name: "p", Type: catalog.ProgSchedAct, Text: "r0 = -1\nexit"}
	for _, tc := range []struct {
		name string
		prog testprog.Prog
		opts hook.TCOptions
		want hook.TCAction
		to   []hook.Delivery
		cls  uint32
	}{
		{"ok", cls("r0 = 0\nexit"), hook.TCOptions{}, hook.TCOK, []hook.Delivery{{To: hook.ToStack}}, 0},
		{"egress", cls("r0 = 0\nexit"), hook.TCOptions{Egress: true}, hook.TCOK, []hook.Delivery{{To: hook.ToDevice, Ifindex: 2}}, 0},
		{"shot", cls("r0 = 2\nexit"), hook.TCOptions{}, hook.TCShot, nil, 0},
		{"pipe is no direct action", cls("r0 = 3\nexit"), hook.TCOptions{}, hook.TCUnspec, []hook.Delivery{{To: hook.ToStack}}, 0},
		{"redirect", cls(redirectTo("0")), hook.TCOptions{}, hook.TCRedirect, []hook.Delivery{{To: hook.ToDevice, Ifindex: 4}}, 0},
		{"redirect in", cls(redirectTo("1")), hook.TCOptions{}, hook.TCRedirect, []hook.Delivery{{To: hook.ToIngress, Ifindex: 4}}, 0},
		{"class", cls("r0 = 0x10001\nexit"), hook.TCOptions{Classify: true}, hook.TCOK, []hook.Delivery{{To: hook.ToStack}}, 0x10001},
		{"own class", cls("r0 = -1\nexit"), hook.TCOptions{Classify: true, ClassID: 7}, hook.TCOK, []hook.Delivery{{To: hook.ToStack}}, 7},
		{"no match", cls("r0 = 0\nexit"), hook.TCOptions{Classify: true}, hook.TCUnspec, []hook.Delivery{{To: hook.ToStack}}, 0},
		{"action's default", act, hook.TCOptions{Default: hook.TCShot}, hook.TCShot, nil, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m, coll := setup(t, nil, tc.prog)
			h, err := hook.NewTC(m, coll.Programs["p"], &tc.opts)
			if err != nil {
				t.Fatal(err)
			}
			defer h.Close()
			r, err := h.Run(packet(), hook.Meta{Ifindex: 2})
			if err != nil || r.Action != tc.want || r.ClassID != tc.cls || !reflect.DeepEqual(where(r.Deliveries), tc.to) {
				t.Errorf("%v, class %#x, %v, %v; want %v, %#x, %v", r.Action, r.ClassID, where(r.Deliveries), err, tc.want, tc.cls, tc.to)
			}
		})
	}
}

func TestSocketFilterTruncates(t *testing.T) {
	for _, tc := range []struct {
		ret  string
		want int
	}{{"0", 0}, {"20", 20}, {"64", 64}, {"-1", 64}} {
		m, coll := setup(t, nil, testprog.Prog{Name: "p", Type: catalog.ProgSocketFilter, Text: "r0 = " + tc.ret + "\nexit"})
		s, err := hook.NewSocketFilter(m, coll.Programs["p"], nil)
		if err != nil {
			t.Fatal(err)
		}
		got, err := s.Run(packet(), hook.Meta{})
		if err != nil || !bytes.Equal(got, packet()[:tc.want]) {
			t.Errorf("return %s: %d bytes, %v; want %d", tc.ret, len(got), err, tc.want)
		}
		s.Close()
	}
}

// TestNoSuchCPU: a hook without a CPU to run on is none.
func TestNoSuchCPU(t *testing.T) {
	m, coll := setup(t, nil, xdp("p", "r0 = 2\nexit"))
	for _, cpu := range []int{-1, 2} {
		if x, err := hook.NewXDP(m, coll.Programs["p"], &hook.XDPOptions{CPU: cpu}); err == nil || x != nil {
			t.Errorf("CPU %d of 2: %v, %v", cpu, x, err)
		}
	}
}

func TestWrongProgramType(t *testing.T) {
	m, coll := setup(t, nil, xdp("p", "r0 = 2\nexit"))
	if _, err := hook.NewTC(m, coll.Programs["p"], nil); err == nil {
		t.Error("an XDP program became a tc filter")
	}
	if _, err := hook.NewSocketFilter(m, coll.Programs["p"], nil); err == nil {
		t.Error("an XDP program became a socket filter")
	}
}
