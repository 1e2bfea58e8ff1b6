package hook_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/skep-bpf/skep"
	"github.com/skep-bpf/skep/hook"
	"github.com/skep-bpf/skep/internal/linux"
	"github.com/skep-bpf/skep/internal/oracle"
)

// call is struct call of testdata/calls.c.
type call struct {
	Member, Arg uint32
	Before      [4]uint32
	After       [2]uint32
}

// Members in the order of calls.c's enum.
const (
	_ = iota
	callInit
	callRelease
	callSsthresh
	callCongAvoid
	callSetState
	callCwndEvent
	callInAckEvent
	callPktsAcked
	callUndoCwnd
)

// readCalls decodes the noted calls of calls.c's .bss.
func readCalls(t *testing.T, bss []byte) []call {
	t.Helper()
	n := binary.NativeEndian.Uint32(bss)
	all := make([]call, 1024)
	at := len(bss) - binary.Size(all)
	if _, err := binary.Decode(bss[at:], binary.NativeEndian, all); err != nil {
		t.Fatal(err)
	}
	return all[:min(n, 1024)]
}

// noted compiles testdata/calls.c.
func noted(t *testing.T) string { return compiled(t, "calls") }

// compiled compiles a source of testdata with names of this process's own: the kernel has one table of them.
func compiled(t *testing.T, source string) string {
	t.Helper()
	clang := oracle.Tool(t, "clang-19")
	object := filepath.Join(t.TempDir(), source+".o")
	if out, err := exec.Command(clang, "-O2", "-g", "-Wall", "-Werror", "-target", "bpfel", "-mcpu=v3", "-c", "testdata/"+source+".c", "-o", object).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	code, err := os.ReadFile(object)
	if err != nil {
		t.Fatal(err)
	}
	code = bytes.ReplaceAll(code, []byte("_00000000\x00"), fmt.Appendf(nil, "_%08d\x00", os.Getpid()))
	if err := os.WriteFile(object, code, 0o600); err != nil {
		t.Fatal(err)
	}
	return object
}

// loadedOps loads an object, and gives one of its structures with members to call.
func loadedOps(t *testing.T, m *skep.Machine, object, name string) (*skep.Collection, *skep.Ops) {
	t.Helper()
	coll, err := m.LoadCollectionFile(object)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(coll.Close)
	ops, err := coll.Maps[name].Ops()
	if err != nil {
		t.Fatal(err)
	}
	return coll, ops
}

// kernelCalls has the kernel drive the congestion control of calls.c.
func kernelCalls(t *testing.T, object string) []call {
	t.Helper()
	calls := readCalls(t, kernelDrives(t, object, "noted", 4<<20, "reno"))
	// What comes before is the handshake's.
	i := slices.IndexFunc(calls, func(c call) bool { return c.Member == callInit })
	if i < 0 || len(calls) < i+10 {
		t.Fatalf("the kernel called %v", calls)
	}
	return calls[i:]
}

// kernelDrives has the kernel drive a congestion control, over a loopback connection that sends so many bytes, and
// returns what is then in .bss.
func kernelDrives(t *testing.T, object, name string, size int, without ...string) []byte {
	t.Helper()
	spec, err := ebpf.LoadCollectionSpec(object)
	if err != nil {
		t.Fatal(err)
	}
	for _, other := range without {
		delete(spec.Maps, other)
		delete(spec.Programs, other+"_avoid")
	}
	coll, err := ebpf.NewCollection(spec)
	if err != nil {
		t.Fatal(err)
	}
	defer coll.Close()
	l, err := link.AttachStructOps(link.StructOpsOptions{Map: coll.Maps[name]})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	done := make(chan error, 1)
	go func() {
		conn, err := ln.Accept()
		if err == nil {
			_, err = io.Copy(io.Discard, conn)
			conn.Close()
		}
		done <- err
	}()
	d := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
		var set error
		err := c.Control(func(fd uintptr) {
			set = syscall.SetsockoptString(int(fd), syscall.IPPROTO_TCP, syscall.TCP_CONGESTION, fmt.Sprintf("c_%08d", os.Getpid()))
		})
		if err == nil {
			err = set
		}
		return err
	}}
	conn, err := d.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write(make([]byte, size)); err != nil {
		t.Fatal(err)
	}
	conn.Close()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	bss, err := coll.Maps[".bss"].LookupBytes(uint32(0))
	if err != nil {
		t.Fatal(err)
	}
	return bss
}

// The kernel's TCP is asked for the members it calls, in which order, and for what its functions make of a window.
func TestCongestionAgainstKernel(t *testing.T) {
	oracle.DeclTags(t)
	oracle.Need(t, "bpf(2)", linux.Available())
	object := noted(t)
	kernel := kernelCalls(t, object)
	m := newMachine(t)
	coll, ops := loadedOps(t, m, object, "noted")
	// What the window was before each call is set, and has to be afterwards what the kernel's was.
	sk, err := m.NewKernelStruct("tcp_sock")
	if err != nil {
		t.Fatal(err)
	}
	defer sk.Close()
	grown, avoided := 0, 0
	for i, c := range kernel {
		if c.Member != callCongAvoid {
			continue
		}
		for n, path := range []string{"snd_cwnd", "snd_cwnd_cnt", "snd_cwnd_clamp", "snd_ssthresh"} {
			sk.Set(path, uint64(c.Before[n]))
		}
		if _, err := ops.Call("cong_avoid", sk, 0, c.Arg); err != nil {
			t.Fatal(err)
		}
		cwnd, _ := sk.Get("snd_cwnd")
		cnt, _ := sk.Get("snd_cwnd_cnt")
		if got := [2]uint32{uint32(cwnd), uint32(cnt)}; got != c.After {
			t.Errorf("call %d, %d acknowledged at %v: %v, the kernel's %v", i, c.Arg, c.Before, got, c.After)
		}
		if c.Before[0] < 24 {
			grown++
		} else {
			avoided++
		}
	}
	if grown == 0 || avoided == 0 {
		t.Errorf("%d calls in slow start, %d in congestion avoidance: both have to be seen", grown, avoided)
	}

	// Calls that follow one another here do so there.
	if err := coll.Maps[".bss"].Put(uint32(0), make([]byte, coll.Maps[".bss"].ValueSize())); err != nil {
		t.Fatal(err)
	}
	ours := ourCalls(t, m, ops, coll.Maps[".bss"])
	follows, flags := map[[2]uint32]bool{}, map[uint32]bool{}
	follows[[2]uint32{callCongAvoid, callRelease}] = true // where it ends depends on the moment
	unseen := func() bool {
		for i, c := range ours[1:] {
			if !follows[[2]uint32{ours[i].Member, c.Member}] || c.Member == callInAckEvent && !flags[c.Arg] {
				return true
			}
		}
		return false
	}
	// So does what follows what: several connections are looked at, if one does not show it all.
	for n := 0; n == 0 || n < 20 && unseen(); n++ {
		if n > 0 {
			kernel = kernelCalls(t, object)
		}
		for i, c := range kernel {
			if i > 0 {
				follows[[2]uint32{kernel[i-1].Member, c.Member}] = true
			}
			if c.Member == callInAckEvent {
				flags[c.Arg] = true
			}
		}
	}
	if ours[0].Member != callInit || ours[len(ours)-1].Member != callRelease {
		t.Errorf("calls began with %d and ended with %d", ours[0].Member, ours[len(ours)-1].Member)
	}
	for i, c := range ours[1:] {
		if pair := [2]uint32{ours[i].Member, c.Member}; !follows[pair] {
			t.Errorf("call %d: member %d follows %d, which the kernel never did", i+1, pair[1], pair[0])
		}
		if c.Member == callInAckEvent && !flags[c.Arg] {
			t.Errorf("call %d: in_ack_event with flags %d, the kernel's were %v", i+1, c.Arg, flags)
		}
	}
	t.Logf("the kernel made %d calls, %d in slow start and %d after", len(kernel), grown, avoided)
}

// What members make of helpers that need a socket is what it is in the kernel: options, storages, acknowledgments.
func TestCongestionSocketAgainstKernel(t *testing.T) {
	oracle.DeclTags(t)
	oracle.Need(t, "bpf(2)", linux.Available())
	object := compiled(t, "sockopts")
	m := newMachine(t)
	coll, ops := loadedOps(t, m, object, "options")
	c, err := hook.NewCongestion(m, ops, 0)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := c.Ack(hook.Ack{Packets: 2, RTT: time.Millisecond}); err != nil {
			t.Fatal(err)
		}
	}
	if got := c.SentAcks(); !slices.Equal(got, []uint32{0}) {
		t.Errorf("acknowledgments that were sent: %v; want one, of all before 0", got)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	results := func(get func(name string) []byte) (all []int32) {
		n := binary.NativeEndian.Uint32(get("count"))
		all = make([]int32, n)
		if _, err := binary.Decode(get("results"), binary.NativeEndian, all); err != nil {
			t.Fatal(err)
		}
		return append(all, int32(binary.NativeEndian.Uint64(get("at_end"))))
	}
	spec, err := ebpf.LoadCollectionSpec(object)
	if err != nil {
		t.Fatal(err)
	}
	variables := func(bss []byte) func(string) []byte {
		return func(name string) []byte { return bss[spec.Variables[name].Offset:] }
	}
	var bss []byte
	if err := coll.Maps[".bss"].Lookup(uint32(0), &bss); err != nil {
		t.Fatal(err)
	}
	ours, kernel := results(variables(bss)), results(variables(kernelDrives(t, object, "options", 4<<20)))
	if !slices.Equal(ours, kernel) || len(kernel) < 30 {
		t.Errorf("results\n%v, the kernel's\n%v", ours, kernel)
	}
	if got, _, _ := bytes.Cut(variables(bss)("name"), []byte{0}); string(got) != fmt.Sprintf("c_%08d", os.Getpid()) {
		t.Errorf("TCP_CONGESTION is %q", got)
	}
}

// What tcp_reno_cong_avoid does is what it does in the kernel by the two functions that the kernel's log above has: here
// a map that is only made when asked for has it.
func TestRenoByTheKernelsFunction(t *testing.T) {
	object := noted(t)
	m := newMachine(t)
	img, err := m.LoadImageFile(object)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.LoadCollectionWithOptions(img, skep.CollectionOptions{Optional: []string{"noted"}}); err == nil {
		t.Error("noted is not optional")
	}
	coll, err := m.LoadCollectionWithOptions(img, skep.CollectionOptions{Optional: []string{"reno"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(coll.Close)
	ops, err := coll.Maps["reno"].Ops()
	if err != nil {
		t.Fatal(err)
	}
	c, err := hook.NewCongestion(m, ops, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for i, want := range []uint32{20, 40} {
		if err := c.Ack(hook.Ack{Packets: c.InFlight()}); err != nil || c.Cwnd() != want {
			t.Errorf("round %d: a window of %d, %v; want %d", i, c.Cwnd(), err, want)
		}
	}
	if err := c.Lose(1); err != nil || c.Ssthresh() != 20 {
		t.Errorf("after a loss the threshold is %d, %v; want 20", c.Ssthresh(), err)
	}
	if err := c.Undo(); err != nil || c.Cwnd() != 40 {
		t.Errorf("undone, the window is %d, %v; want 40", c.Cwnd(), err)
	}
}

// ourCalls are those of a connection that only sees acknowledgments.
func ourCalls(t *testing.T, m *skep.Machine, ops *skep.Ops, bss *skep.Map) []call {
	t.Helper()
	c, err := hook.NewCongestion(m, ops, 0)
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if err := c.Ack(hook.Ack{Packets: 2, RTT: time.Millisecond}); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	var b []byte
	if err := bss.Lookup(uint32(0), &b); err != nil {
		t.Fatal(err)
	}
	return readCalls(t, b)
}
