package hook_test

import (
	"bytes"
	"sync/atomic"
	"testing"

	"github.com/skep-bpf/skep/hook"
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/testprog"
)

func cls(name, text string) testprog.Prog {
	return testprog.Prog{Name: name, Type: catalog.ProgSchedCls, Text: text}
}

// marks add one to the packet's mark and return what it says.
func marks(name, r0 string) testprog.Prog {
	return cls(name, "r6 = *(u32 *)(r1 + 8)\nr6 += 1\n*(u32 *)(r1 + 8) = r6\nr0 = "+r0+"\nexit")
}

// TestClsactActions: what becomes of a packet that a filter matched. The mark says
// how often programs ran.
func TestClsactActions(t *testing.T) {
	act := func(name, r0 string) testprog.Prog {
		p := marks(name, r0)
		p.Type = catalog.ProgSchedAct
		return p
	}
	m, coll := setup(t, nil, marks("match", "1"), marks("none", "0"), marks("pass", "0"), act("pipe", "3"), act("unspec", "-1"), act("shot", "2"), act("nonsense", "99"), act("reclassify", "1"))
	p := coll.Programs
	for _, tc := range []struct {
		name    string
		actions []hook.Action
		want    hook.TCAction
		mark    uint32
	}{
		{"none: ok", nil, hook.TCOK, 1},
		{"code", []hook.Action{{Code: hook.TCShot}}, hook.TCShot, 1},
		{"code, not reached", []hook.Action{{Code: hook.TCOK}, {Code: hook.TCShot}}, hook.TCOK, 1},
		{"pipe", []hook.Action{{Code: hook.TCPipe}, {Code: hook.TCStolen}}, hook.TCStolen, 1},
		{"pipe at the end", []hook.Action{{Code: hook.TCPipe}}, hook.TCPipe, 1},
		{"program", []hook.Action{{Program: p["shot"]}}, hook.TCShot, 2},
		{"program pipes", []hook.Action{{Program: p["pipe"]}, {Program: p["pipe"]}, {Code: hook.TCShot}}, hook.TCShot, 3},
		{"program's default", []hook.Action{{Program: p["unspec"], Code: hook.TCStolen}}, hook.TCStolen, 2},
		{"no verdict: the next filter", []hook.Action{{Program: p["nonsense"]}}, hook.TCOK, 3},
		{"repeat has a limit", []hook.Action{{Code: hook.TCRepeat}}, hook.TCOK, 1},
		{"reclassify has a limit", []hook.Action{{Program: p["reclassify"]}}, hook.TCShot, 2 * 17},
	} {
		c, err := hook.NewClsact(m, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Add(hook.Filter{Priority: 1, Program: p["match"], Actions: tc.actions}); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Add(hook.Filter{Priority: 2, Program: p["pass"], Direct: true}); err != nil {
			t.Fatal(err)
		}
		r, err := c.Run(packet(), hook.Meta{Ifindex: 2})
		if err != nil || r.Action != tc.want || r.Mark != tc.mark {
			t.Errorf("%s: %v, mark %d, %v; want %v, %d", tc.name, r.Action, r.Mark, err, tc.want, tc.mark)
		}
		c.Close()
	}
}

// TestClsactFilters: priorities, handles, protocols, and what is refused.
func TestClsactFilters(t *testing.T) {
	m, coll := setup(t, nil, marks("a", "-1"), marks("b", "-1"), testprog.Prog{Name: "x", Type: catalog.ProgXDP, Text: "r0 = 2\nexit"})
	p := coll.Programs
	c, err := hook.NewClsact(m, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	add := func(f hook.Filter) (uint16, uint32) {
		t.Helper()
		f.Direct = true
		f, err := c.Add(f)
		if err != nil {
			t.Error(err)
		}
		return f.Priority, f.Handle
	}
	if prio, handle := add(hook.Filter{Program: p["a"]}); prio != 0xc000 || handle != 1 {
		t.Errorf("the first got priority %#x, handle %d", prio, handle)
	}
	if prio, handle := add(hook.Filter{Program: p["a"]}); prio != 0xbfff || handle != 1 {
		t.Errorf("the second got priority %#x, handle %d", prio, handle)
	}
	if _, handle := add(hook.Filter{Program: p["b"], Priority: 0xc000}); handle != 2 {
		t.Errorf("a second of one priority got handle %d", handle)
	}
	for _, f := range []hook.Filter{
		{}, {Program: p["x"]}, {Program: p["a"], Priority: 0xc000, Handle: 1}, {Program: p["a"], Priority: 0xc000, Protocol: 0x800},
		{Program: p["a"], Direct: true, Actions: []hook.Action{{}}}, {Program: p["a"], Actions: []hook.Action{{Program: p["a"]}}},
	} {
		if _, err := c.Add(f); err == nil {
			t.Errorf("%+v was taken", f)
		}
	}
	fs := c.Filters()
	if len(fs) != 3 || fs[0].Priority != 0xbfff || fs[1].Program != p["b"] || fs[2].Handle != 1 {
		t.Errorf("%+v", fs)
	}
	if r, _ := c.Run(packet(), hook.Meta{Ifindex: 2}); r.Mark != 3 || r.Action != hook.TCUnspec {
		t.Errorf("%d filters ran, %v", r.Mark, r.Action)
	}
	if c.Delete(7, 0) == nil || c.Delete(0xc000, 9) == nil || c.Replace(hook.Filter{Program: p["a"], Priority: 1}) == nil {
		t.Error("filters that are not there were found")
	}
	if err := c.Delete(0xc000, 0); err != nil || len(c.Filters()) != 1 {
		t.Errorf("%v, %d filters", err, len(c.Filters()))
	}
	if c.AttachTCX(p["x"], 0) == nil || c.AttachTCX(p["a"], 1) == nil || c.DetachTCX(0) == nil {
		t.Error("links that cannot be were made")
	}
}

// TestClsactReplace: while a filter is exchanged again and again, every packet
// meets one of the two.
func TestClsactReplace(t *testing.T) {
	m, coll := setup(t, nil, cls("a", "r0 = 4\nexit"), cls("b", "r0 = 2\nexit"))
	c, err := hook.NewClsact(m, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	f, err := c.Add(hook.Filter{Program: coll.Programs["a"], Direct: true})
	if err != nil {
		t.Fatal(err)
	}
	var stop atomic.Bool
	turns := make(chan int)
	go func() {
		n := 0
		for ; !stop.Load(); n++ {
			f := f
			f.Program = coll.Programs[[]string{"b", "a"}[n%2]]
			if err := c.Replace(f); err != nil {
				t.Error(err)
			}
		}
		turns <- n
	}()
	met := map[hook.TCAction]int{}
	for n := 0; n < 20_000 || len(met) < 2 && n < 10_000_000; n++ {
		r, err := c.Run(packet(), hook.Meta{Ifindex: 2})
		if err != nil {
			t.Fatal(err)
		}
		met[r.Action]++
	}
	stop.Store(true)
	if n := <-turns; n == 0 || met[hook.TCStolen] == 0 || met[hook.TCShot] == 0 || len(met) != 2 {
		t.Errorf("after %d exchanges: %v", n, met)
	}
}

func TestClsactAllocatesNothing(t *testing.T) {
	m, coll := setup(t, nil, marks("a", "-1"), marks("b", "1"))
	c, err := hook.NewClsact(m, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.AttachTCX(coll.Programs["a"], 0)
	c.Add(hook.Filter{Program: coll.Programs["a"], Direct: true})
	c.Add(hook.Filter{Program: coll.Programs["b"], Actions: []hook.Action{{Code: hook.TCPipe}, {Code: hook.TCOK}}})
	data := packet()
	if n := testing.AllocsPerRun(100, func() { c.Run(data, hook.Meta{Ifindex: 2}) }); n != 0 {
		t.Errorf("%v allocations a packet", n)
	}
}

// TestCutHeaders: what ends in the middle of its network header passes a hook like
// anything else, though a test run would refuse it.
func TestCutHeaders(t *testing.T) {
	m, coll := setup(t, nil, testprog.Prog{Name: "len", Type: catalog.ProgSchedCls, Text: "r0 = *(u32 *)(r1 + 0)\nexit"})
	c, err := hook.NewClsact(m, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Add(hook.Filter{Program: coll.Programs["len"], ClassID: 1}); err != nil {
		t.Fatal(err)
	}
	for _, proto := range [][2]byte{{8, 0}, {0x86, 0xdd}, {0x81, 0}} {
		for n := 14; n < 60; n++ {
			f := make([]byte, n)
			f[12], f[13] = proto[0], proto[1]
			if r, err := c.Run(f, hook.Meta{Ifindex: 2}); err != nil || r.Return != uint32(n) {
				t.Fatalf("% x, %d bytes: %d, %v", proto, n, r.Return, err)
			}
		}
	}
}

// TestMirred: a copy goes where mirror says, the packet itself where redirect
// says, each as it was then; what follows a redirect is not asked.
func TestMirred(t *testing.T) {
	m, coll := setup(t, nil,
		testprog.Prog{Name: "match", Type: catalog.ProgSchedCls, Text: "r0 = 1\nexit"},
		testprog.Prog{Name: "mark", Type: catalog.ProgSchedAct, Text: markByte})
	c, err := hook.NewClsact(m, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	stats := &hook.ActionStats{}
	if _, err := c.Add(hook.Filter{Program: coll.Programs["match"], ClassID: 1, Actions: []hook.Action{
		{Code: hook.TCPipe, Mirred: &hook.Mirred{Ifindex: 7, Copy: true}},
		{Program: coll.Programs["mark"], Code: hook.TCPipe},
		{Code: hook.TCPipe, Mirred: &hook.Mirred{Ifindex: 8, Ingress: true}, Stats: stats},
		{Code: hook.TCOK, Mirred: &hook.Mirred{Ifindex: 9, Copy: true}},
	}}); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		r, err := c.Run(packet(), hook.Meta{Ifindex: 2})
		if err != nil || r.Action != hook.TCStolen || len(r.Deliveries) != 0 || len(r.Sent) != 2 {
			t.Fatalf("%+v, %v", r, err)
		}
		want := packet()
		if s := r.Sent[0]; s.To != hook.ToDevice || s.Ifindex != 7 || !bytes.Equal(s.Packet, want) {
			t.Errorf("mirrored: %+v", s)
		}
		want[0] = 0xaa
		if s := r.Sent[1]; s.To != hook.ToIngress || s.Ifindex != 8 || !bytes.Equal(s.Packet, want) {
			t.Errorf("redirected: %+v", s)
		}
	}
	if stats.Packets.Load() != 3 || stats.Bytes.Load() != uint64(3*(len(packet())-14)) {
		t.Errorf("%d packets, %d bytes", stats.Packets.Load(), stats.Bytes.Load())
	}
}

// markByte is an action that writes the packet's first byte.
const markByte = `r2 = *(u32 *)(r1 + 76)
r3 = *(u32 *)(r1 + 80)
r4 = r2
r4 += 1
if r4 > r3 goto out
r5 = 170
*(u8 *)(r2 + 0) = r5
out:
r0 = -1
exit`
