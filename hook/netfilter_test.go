package hook_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep"
	"github.com/skep-bpf/skep/hook"
	"github.com/skep-bpf/skep/image"
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/testprog"
)

// netfilterTypes are types of a kernel's of which programs see these members.
func netfilterTypes(t *testing.T) *btf.Spec {
	t.Helper()
	u8, u32 := &btf.Int{Name: "unsigned char", Size: 1}, &btf.Int{Name: "unsigned int", Size: 4}
	dev := &btf.Struct{Name: "net_device", Size: 8, Members: []btf.Member{{Name: "ifindex", Type: u32, Offset: 32}}}
	to := &btf.Pointer{Target: dev}
	state := &btf.Struct{Name: "nf_hook_state", Size: 24, Members: []btf.Member{
		{Name: "hook", Type: u8}, {Name: "pf", Type: u8, Offset: 8}, {Name: "in", Type: to, Offset: 64}, {Name: "out", Type: to, Offset: 128}}}
	skb := &btf.Struct{Name: "sk_buff", Size: 16, Members: []btf.Member{{Name: "dev", Type: to}, {Name: "len", Type: u32, Offset: 64}, {Name: "mark", Type: u32, Offset: 96}}}
	b, err := btf.NewBuilder([]btf.Type{state, skb}, nil)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := b.Marshal(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	spec, err := btf.LoadSpecFromReader(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	return spec
}

// noteHook counts in the low byte of element 0 of a map, and notes in the element of that number the hook, the family, the devices in and
// out and of the packet, its length and mark, and its own number. It returns 0 for packets with a mark that is that number.
const noteHook = `
r9 = r1
*(u32 *)(r10 - 4) = 0
r2 = r10
r2 += -4
r1 = map_idx[0] ll
call map_lookup_elem
if r0 == 0 goto out
r1 = *(u64 *)(r0 + 0)
r1 += 1
*(u64 *)(r0 + 0) = r1
*(u32 *)(r10 - 4) = r1
r2 = r10
r2 += -4
r1 = map_idx[0] ll
call map_lookup_elem
if r0 == 0 goto out
r6 = *(u64 *)(r9 + 0)
r7 = *(u64 *)(r9 + 8)
r1 = *(u8 *)(r6 + 0)
*(u8 *)(r0 + 0) = r1
r1 = *(u8 *)(r6 + 1)
*(u8 *)(r0 + 1) = r1
r2 = *(u64 *)(r6 + 8)
r1 = *(u32 *)(r2 + 4)
*(u8 *)(r0 + 2) = r1
r2 = *(u64 *)(r6 + 16)
r1 = *(u32 *)(r2 + 4)
*(u8 *)(r0 + 3) = r1
r2 = *(u64 *)(r7 + 0)
r1 = *(u32 *)(r2 + 4)
*(u8 *)(r0 + 4) = r1
r1 = *(u32 *)(r7 + 8)
*(u8 *)(r0 + 5) = r1
r1 = *(u32 *)(r7 + 12)
*(u8 *)(r0 + 6) = r1
*(u8 *)(r0 + 7) = NUMBER
r0 = 0
if r1 == NUMBER goto out
r0 = 1
out:
exit`

// TestNetfilter: programs run in the order of hooks and priorities, find where the packet is, and the first that drops it
// is the last.
func TestNetfilter(t *testing.T) {
	prog := func(name, number string) testprog.Prog {
		return testprog.Prog{Name: name, Type: catalog.ProgNetfilter, Attach: catalog.AttachNetfilter, Text: strings.ReplaceAll(noteHook, "NUMBER", number)}
	}
	maps := []*image.Map{{Name: "m", Type: catalog.MapArray, KeySize: 4, ValueSize: 8, MaxEntries: 8}}
	m, err := skep.NewMachine(&skep.MachineOptions{CPUs: 2, Checked: engine.Checked, JIT: engine.JIT, KernelBTF: netfilterTypes(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	coll, err := m.LoadCollection(testprog.Image(t, maps, prog("one", "1"), prog("two", "2"), testprog.Prog{Name: "xdp", Type: catalog.ProgXDP, Text: "r0 = 2\nexit"}))
	if err != nil {
		t.Fatalf("%+v", err)
	}
	defer coll.Close()
	one, two := coll.Programs["one"], coll.Programs["two"]
	h := hook.NewNetfilter(m)
	attach := func(p *skep.Program, family hook.NetfilterFamily, at hook.NetfilterHook, prio int32, want skep.Errno) *hook.NetfilterLink {
		t.Helper()
		l, err := h.Attach(p, hook.NetfilterPlace{Family: family, Hook: at, Priority: prio})
		var e skep.Errno
		if errors.As(err, &e); e != want || (err == nil) != (want == 0) {
			t.Errorf("%v at %v, priority %d: %v, want %v", p, at, prio, err, want)
		}
		return l
	}
	attach(one, 3, hook.NetfilterForward, 0, 97)
	attach(one, hook.NetfilterIPv4, 5, 0, 71)
	attach(one, hook.NetfilterIPv4, 4, math.MinInt32, 34)
	attach(one, hook.NetfilterIPv4, 4, math.MaxInt32, 34)
	if _, err := h.Attach(coll.Programs["xdp"], hook.NetfilterPlace{Family: hook.NetfilterIPv4}); err == nil {
		t.Error("a program of another type is attached")
	}
	for at := hook.NetfilterPreRouting; at <= hook.NetfilterPostRouting; at++ {
		attach(two, hook.NetfilterIPv4, at, 5, 0)
	}
	attach(two, hook.NetfilterIPv4, hook.NetfilterForward, 5, 16)
	first := attach(one, hook.NetfilterIPv4, hook.NetfilterForward, -5, 0)
	attach(one, hook.NetfilterIPv6, hook.NetfilterLocalIn, 5, 0)

	frame := func(proto uint16, n int) []byte {
		b := make([]byte, 14+n)
		binary.BigEndian.PutUint16(b[12:], proto)
		if b[14] = 0x45; proto == 0x86dd {
			b[14] = 0x60
		}
		return b
	}
	type pass func() (hook.NetfilterVerdict, error)
	check := func(what string, f pass, dropped *skep.Program, at hook.NetfilterHook, want ...[8]byte) {
		t.Helper()
		v, err := f()
		if err != nil || v.Accepted != (dropped == nil) || v.By != dropped || dropped != nil && v.Hook != at {
			t.Errorf("%s: %+v, %v", what, v, err)
		}
		var n uint64
		coll.Maps["m"].Lookup(uint32(0), &n)
		if n != uint64(len(want)) {
			t.Errorf("%s: %d runs, want %d", what, n, len(want))
		}
		for i, w := range want {
			var got [8]byte
			if coll.Maps["m"].Lookup(uint32(i+1), &got); got != w {
				t.Errorf("%s: run %d saw %d, want %d", what, i, got, w)
			}
		}
		coll.Maps["m"].Put(uint32(0), uint64(0))
	}
	ip := frame(0x800, 28)
	check("forwarded", func() (hook.NetfilterVerdict, error) { return h.Forward(ip, hook.Meta{Ifindex: 3}, 4) }, nil, 0,
		[8]byte{0, 2, 3, 0, 3, 28, 0, 2}, [8]byte{2, 2, 3, 4, 3, 28, 0, 1}, [8]byte{2, 2, 3, 4, 3, 28, 0, 2}, [8]byte{4, 2, 3, 4, 4, 28, 0, 2})
	check("dropped", func() (hook.NetfilterVerdict, error) { return h.Forward(ip, hook.Meta{Ifindex: 3, Mark: 1}, 4) }, one, hook.NetfilterForward,
		[8]byte{0, 2, 3, 0, 3, 28, 1, 2}, [8]byte{2, 2, 3, 4, 3, 28, 1, 1})
	first.Close()
	check("the link gone", func() (hook.NetfilterVerdict, error) { return h.Forward(ip, hook.Meta{Ifindex: 3, Mark: 1}, 4) }, nil, 0,
		[8]byte{0, 2, 3, 0, 3, 28, 1, 2}, [8]byte{2, 2, 3, 4, 3, 28, 1, 2}, [8]byte{4, 2, 3, 4, 4, 28, 1, 2})
	check("received", func() (hook.NetfilterVerdict, error) { return h.Receive(ip, hook.Meta{Ifindex: 3}) }, nil, 0,
		[8]byte{0, 2, 3, 0, 3, 28, 0, 2}, [8]byte{1, 2, 3, 0, 3, 28, 0, 2})
	check("sent", func() (hook.NetfilterVerdict, error) { return h.Send(ip[14:], hook.Meta{Ifindex: 3}) }, nil, 0,
		[8]byte{3, 2, 0, 3, 0, 28, 0, 2}, [8]byte{4, 2, 0, 3, 3, 28, 0, 2})
	check("sent and dropped", func() (hook.NetfilterVerdict, error) { return h.Send(ip[14:], hook.Meta{Ifindex: 3, Mark: 2}) }, two, hook.NetfilterLocalOut,
		[8]byte{3, 2, 0, 3, 0, 28, 2, 2})
	check("of IPv6", func() (hook.NetfilterVerdict, error) {
		return h.Receive(frame(0x86dd, 48), hook.Meta{Ifindex: 3, Mark: 1})
	}, one, hook.NetfilterLocalIn,
		[8]byte{1, 10, 3, 0, 3, 48, 1, 1})
	check("of neither", func() (hook.NetfilterVerdict, error) { return h.Receive(frame(0x806, 28), hook.Meta{Ifindex: 3}) }, nil, 0)
	for what, f := range map[string]pass{
		"a short frame":  func() (hook.NetfilterVerdict, error) { return h.Receive(ip[:13], hook.Meta{}) },
		"a short header": func() (hook.NetfilterVerdict, error) { return h.Receive(ip[:33], hook.Meta{}) },
		"long options":   func() (hook.NetfilterVerdict, error) { return h.Send(append([]byte{0x4f}, ip[15:]...), hook.Meta{}) },
		"no IP header":   func() (hook.NetfilterVerdict, error) { return h.Send(ip, hook.Meta{}) },
		"nothing":        func() (hook.NetfilterVerdict, error) { return h.Send(nil, hook.Meta{}) },
	} {
		if v, err := f(); err == nil {
			t.Errorf("%s is taken: %+v", what, v)
		}
	}
}
