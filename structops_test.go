package skep_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/skep-bpf/skep"
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/oracle"
	"github.com/skep-bpf/skep/internal/testprog"
)

// congestion loads the example's congestion controls.
func congestion(t *testing.T) (*skep.Machine, *skep.Collection) {
	t.Helper()
	oracle.DeclTags(t)
	m := machine(t, skep.MachineOptions{})
	if _, err := m.NewKernelStruct("tcp_sock"); err != nil {
		t.Skipf("not run: %v", err)
	}
	img, err := m.LoadImageFile("examples/congestion/congestion.o")
	if err != nil {
		t.Fatal(err)
	}
	return m, load(t, m, img)
}

// Members are called with a tcp_sock of the caller's, which they read and write by the kernel's layout.
func TestOpsAreCalled(t *testing.T) {
	m, coll := congestion(t)
	ops, err := coll.Maps["aimd"].Ops()
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprintln(ops.Structure(), ops.Name(), ops.Members()); got != "tcp_congestion_ops skep_aimd [ssthresh cong_avoid pkts_acked undo_cwnd init release]\n" {
		t.Errorf("it is %s", got)
	}
	sk, err := m.NewKernelStruct("tcp_sock")
	if err != nil {
		t.Fatal(err)
	}
	defer sk.Close()
	call := func(member string, args ...any) uint64 {
		t.Helper()
		v, err := ops.Call(member, append([]any{sk}, args...)...)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	set := func(path string, v uint64) {
		t.Helper()
		if err := sk.Set(path, v); err != nil {
			t.Fatal(err)
		}
	}
	want := func(path string, v uint64) {
		t.Helper()
		if got, err := sk.Get(path); err != nil || got != v {
			t.Errorf("%s is %d, %v; want %d", path, got, err, v)
		}
	}
	call("init")
	set("snd_cwnd", 10)
	set("snd_ssthresh", 14)
	set("snd_cwnd_clamp", 100)
	call("cong_avoid", uint32(0), 3)
	want("snd_cwnd", 13)
	call("cong_avoid", 0, 3) // one to the threshold, two of congestion avoidance
	want("snd_cwnd", 14)
	want("snd_cwnd_cnt", 2)
	call("cong_avoid", 0, 40)
	want("snd_cwnd", 17)
	want("snd_cwnd_cnt", 0)
	if got := call("ssthresh"); got != 11 {
		t.Errorf("the threshold after a loss is %d, want 7/10 of 17", got)
	}
	set("snd_cwnd", 5)
	if got := call("undo_cwnd"); got != 17 {
		t.Errorf("undone, the window is %d, want 17", got)
	}
	sample, err := m.NewKernelStruct("ack_sample")
	if err != nil {
		t.Fatal(err)
	}
	defer sample.Close()
	sample.Set("rtt_us", 1234)
	call("pkts_acked", sample)
	if priv := sk.Bytes("inet_conn.icsk_ca_priv"); priv[4] != 1234&0xff || priv[5] != 1234>>8 || priv[6] != 0 {
		t.Errorf("the state is %x, want a round trip of 1234 us", priv[:8])
	}
	var n uint32
	if err := coll.Maps[".bss"].Lookup(uint32(0), &n); err != nil || n != 1 {
		t.Errorf("%d connections, %v; want 1", n, err)
	}
	call("release")
	if coll.Maps[".bss"].Lookup(uint32(0), &n); n != 0 {
		t.Errorf("%d connections after release", n)
	}
	for what, args := range map[string][]any{
		"ssthresh":   {},
		"cong_avoid": {sk, 1},
		"undo_cwnd":  {nil},
		"init":       {5},
		"release":    {sample},
		"pkts_acked": {sk, sk},
		"set_state":  {sk, 1},
		"flags":      {},
		"nothing":    {sk},
	} {
		if v, err := ops.Call(what, args...); err == nil {
			t.Errorf("%s of %v: %d", what, args, v)
		}
	}
}

// Implementations are registered by links, one of a name at a time, and exchanged.
func TestOpsAreRegistered(t *testing.T) {
	m, coll := congestion(t)
	img, err := m.LoadImageFile("examples/congestion/congestion.o")
	if err != nil {
		t.Fatal(err)
	}
	again := load(t, m, img)
	ops := func(c *skep.Collection, name string) *skep.Ops {
		o, err := c.Maps[name].Ops()
		if err != nil {
			t.Fatal(err)
		}
		return o
	}
	aimd, dctcp, next := ops(coll, "aimd"), ops(coll, "dctcp"), ops(again, "aimd")
	link, err := aimd.Attach()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := next.Attach(); !errors.Is(err, errno.EEXIST) {
		t.Errorf("another of the name: %v", err)
	}
	other, err := dctcp.Attach()
	if err != nil {
		t.Error(err)
	}
	defer other.Close()
	if err := link.Update(dctcp); !errors.Is(err, errno.EINVAL) {
		t.Errorf("update by one of another name: %v", err)
	}
	if err := link.Update(next); err != nil {
		t.Error(err)
	}
	if got := m.Registered("tcp_congestion_ops"); fmt.Sprint(got) != "[skep_dctcp skep_aimd]" {
		t.Errorf("registered: %v", got)
	}
	if _, err := aimd.Attach(); !errors.Is(err, errno.EEXIST) {
		t.Errorf("the old while the new is registered: %v", err)
	}
	link.Close()
	if err := link.Update(aimd); !errors.Is(err, skep.ErrClosed) {
		t.Errorf("update of a closed link: %v", err)
	}
	if l, err := aimd.Attach(); err != nil {
		t.Error(err)
	} else {
		l.Close()
	}
	if _, err := coll.Maps[".bss"].Ops(); err == nil {
		t.Error("a map of another type has members")
	}
}

// What cilium/ebpf read of an object is an implementation too, as far as it says which program is whose.
func TestOpsOfACollectionSpec(t *testing.T) {
	m, _ := congestion(t)
	spec, err := ebpf.LoadCollectionSpec("examples/congestion/congestion.o")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := skep.FromCollectionSpec(spec, nil); err == nil || !strings.Contains(err.Error(), "both implement tcp_congestion_ops:") {
		t.Errorf("two programs for a member: %v", err)
	}
	delete(spec.Maps, "dctcp")
	for _, name := range []string{"marks", "by_marks", "undo"} {
		delete(spec.Programs, name)
	}
	img, err := skep.FromCollectionSpec(spec, nil)
	if err != nil {
		t.Fatal(err)
	}
	ops, err := load(t, m, img).Maps["aimd"].Ops()
	if err != nil {
		t.Fatal(err)
	}
	sk, err := m.NewKernelStruct("tcp_sock")
	if err != nil {
		t.Fatal(err)
	}
	defer sk.Close()
	sk.Set("snd_cwnd", 50)
	if v, err := ops.Call("ssthresh", sk); err != nil || v != 35 || ops.Name() != "skep_aimd" {
		t.Errorf("%s: a threshold of %d, %v; want 35", ops.Name(), v, err)
	}
}

// Members of bpf_dummy_ops are run by hand: their arguments are the context, their state the data. No value can be set.
func TestDummyOps(t *testing.T) {
	m := machine(t, skep.MachineOptions{})
	if s, err := m.NewKernelStruct("bpf_dummy_ops_state"); err != nil {
		t.Skipf("not run: %v", err)
	} else {
		s.Close()
	}
	img := testprog.Image(t, nil, testprog.Prog{Name: "sum", Type: catalog.ProgStructOps, Text: `
		r2 = *(u64 *)(r1 + 0)
		r0 = *(u32 *)(r2 + 0)
		*(u32 *)(r2 + 0) = 9
		r3 = *(u64 *)(r1 + 8)
		r0 += r3
		exit`})
	img.Programs[0].AttachTo = "bpf_dummy_ops:test_2"
	p := load(t, m, img).Programs["sum"]
	state, out := []byte{5, 0, 0, 0}, make([]byte, 4)
	opts := skep.RunOptions{Context: []uint64{1, 37, 0, 0, 0}, Data: state, DataOut: out}
	if ret, err := p.Run(&opts); err != nil || ret != 42 || out[0] != 9 || state[0] != 5 {
		t.Errorf("returned %d, state %v to %v, %v; want 42, 9", ret, state, out, err)
	}
	for what, o := range map[string]skep.RunOptions{
		"no state":    {Context: []uint64{0, 37, 0, 0, 0}},
		"long state":  {Context: []uint64{1, 37, 0, 0, 0}, Data: make([]byte, 8)},
		"lost state":  {Context: []uint64{1, 37, 0, 0, 0}},
		"few words":   {Context: []uint64{1, 37}, Data: state},
		"no context":  {},
		"many words":  {Context: make([]uint64, 6)},
		"bad context": {Context: "text"},
	} {
		if ret, err := p.Run(&o); err == nil {
			t.Errorf("%s: returned %d", what, ret)
		}
	}
}

// An implementation that lacks members is loaded, and cannot be registered, as with libbpf.
func TestOpsThatLackMembers(t *testing.T) {
	m, _ := congestion(t)
	img, err := m.LoadImageFile("examples/congestion/congestion.o")
	if err != nil {
		t.Fatal(err)
	}
	for _, im := range img.Maps {
		if im.Name == "aimd" {
			im.StructOps.Members = im.StructOps.Members[1:]
		}
	}
	ops, err := load(t, m, img).Maps["aimd"].Ops()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ops.Attach(); !errors.Is(err, errno.EINVAL) {
		t.Errorf("without %s: %v", "a member", err)
	}
	coll, err := m.LoadCollectionWithOptions(img, skep.CollectionOptions{Programs: []string{"begin"}})
	if err != nil {
		t.Fatal(err)
	}
	defer coll.Close()
	if ops, err = coll.Maps["dctcp"].Ops(); err != nil {
		t.Fatal(err)
	}
	if _, err := ops.Attach(); !errors.Is(err, errno.EINVAL) || !strings.Contains(err.Error(), "not all its programs were loaded") {
		t.Errorf("of one program: %v", err)
	}
}

func BenchmarkOpsCall(b *testing.B) {
	m := machine(b, skep.MachineOptions{})
	coll, err := m.LoadCollectionFile("examples/congestion/congestion.o")
	if err != nil {
		b.Skip(err)
	}
	defer coll.Close()
	ops, err := coll.Maps["aimd"].Ops()
	if err != nil {
		b.Fatal(err)
	}
	sk, err := m.NewKernelStruct("tcp_sock")
	if err != nil {
		b.Fatal(err)
	}
	defer sk.Close()
	sk.Set("snd_cwnd", 100)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ops.Call("ssthresh", sk); err != nil {
			b.Fatal(err)
		}
	}
}
