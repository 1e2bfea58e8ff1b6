package skep_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"

	"github.com/skep-bpf/skep"
	"github.com/skep-bpf/skep/image"
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/testprog"
	"github.com/skep-bpf/skep/ringbuf"
)

// The tests below start their own binary once more, as a second process with a socket in descriptor 3.
const peerEnv = "SKEP_TEST_PEER"

func init() {
	if role := os.Getenv(peerEnv); role != "" {
		if err := peer(role); err != nil {
			fmt.Println("peer:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
}

// marks counts in a hash map, by the packet's mark, in an array, and sends the mark to a ring buffer if cb[0] says so.
const marks = `
	r7 = r1
	r1 = *(u32 *)(r7 + 8)
	*(u64 *)(r10 - 8) = r1
	r1 = 0
	*(u64 *)(r10 - 16) = r1
	*(u32 *)(r10 - 20) = r1
	r1 = map_idx[0] ll
	r2 = r10
	r2 += -8
	call bpf_map_lookup_elem
	if r0 != 0 goto found
	r1 = map_idx[0] ll
	r2 = r10
	r2 += -8
	r3 = r10
	r3 += -16
	r4 = 1
	call bpf_map_update_elem
	r1 = map_idx[0] ll
	r2 = r10
	r2 += -8
	call bpf_map_lookup_elem
	if r0 == 0 goto full
found:
	r1 = 1
	lock *(u64 *)(r0 + 0) += r1
full:
	r1 = map_idx[1] ll
	r2 = r10
	r2 += -20
	call bpf_map_lookup_elem
	if r0 == 0 goto out
	r1 = 1
	lock *(u64 *)(r0 + 0) += r1
	r1 = *(u32 *)(r7 + 48)
	if r1 == 0 goto out
	r1 = map_idx[2] ll
	r2 = r10
	r2 += -8
	r3 = 8
	r4 = 0
	call bpf_ringbuf_output
	exit
out:
	r0 = 0
	exit
`

// churn replaces, and at every third mark deletes, an element of the hash map.
const churn = `
	r1 = *(u32 *)(r1 + 8)
	*(u64 *)(r10 - 8) = r1
	*(u64 *)(r10 - 16) = r1
	*(u64 *)(r10 - 24) = r1
	r1 %= 3
	if r1 == 0 goto gone
	r1 = map_idx[0] ll
	r2 = r10
	r2 += -8
	r3 = r10
	r3 += -24
	r4 = 0
	call bpf_map_update_elem
	exit
gone:
	r1 = map_idx[0] ll
	r2 = r10
	r2 += -8
	call bpf_map_delete_elem
	exit
`

// percpu counts in an array and a hash map per CPU, without atomic instructions, and pushes the mark to a queue.
const percpu = `
	r7 = *(u32 *)(r1 + 8)
	*(u64 *)(r10 - 8) = r7
	r1 = 0
	*(u64 *)(r10 - 16) = r1
	r1 = map_idx[0] ll
	r2 = r10
	r2 += -16
	call bpf_map_lookup_elem
	if r0 == 0 goto out
	r1 = *(u64 *)(r0 + 0)
	r1 += 1
	*(u64 *)(r0 + 0) = r1
	r1 = map_idx[1] ll
	r2 = r10
	r2 += -8
	r3 = r10
	r3 += -16
	r4 = 1
	call bpf_map_update_elem
	r1 = map_idx[1] ll
	r2 = r10
	r2 += -8
	call bpf_map_lookup_elem
	if r0 == 0 goto out
	r1 = *(u64 *)(r0 + 0)
	r1 += 1
	*(u64 *)(r0 + 0) = r1
	r1 = map_idx[2] ll
	r2 = r10
	r2 += -8
	r3 = 2
	call bpf_map_push_elem
out:
	r0 = 0
	exit
`

// locked adds 1 to each of two words under the lock in front of them, in a hash map's value; what is unequal it counts in the third.
const locked = `
	r1 = 0
	*(u32 *)(r10 - 4) = r1
	r1 = map_idx[0] ll
	r2 = r10
	r2 += -4
	call bpf_map_lookup_elem
	if r0 == 0 goto out
	r6 = r0
	r1 = r0
	call bpf_spin_lock
	r7 = *(u32 *)(r6 + 4)
	r8 = *(u32 *)(r6 + 8)
	if r7 == r8 goto same
	r1 = *(u32 *)(r6 + 12)
	r1 += 1
	*(u32 *)(r6 + 12) = r1
	r8 = r7
same:
	r7 += 1
	*(u32 *)(r6 + 4) = r7
	r8 += 1
	*(u32 *)(r6 + 8) = r8
	r1 = r6
	call bpf_spin_unlock
out:
	r0 = 0
	exit
`

// hold reserves a record of the ring buffer, and submits it, marked with the packet's mark.
const hold = `
	r6 = *(u32 *)(r1 + 8)
	r1 = map_idx[0] ll
	r2 = 16
	r3 = 0
	call bpf_ringbuf_reserve
	if r0 == 0 goto full
	*(u64 *)(r0 + 0) = r6
	*(u64 *)(r0 + 8) = r6
	r1 = r0
	r2 = 0
	call bpf_ringbuf_submit
	r0 = 0
	exit
full:
	r0 = 1
	exit
`

func sharedImage(t testing.TB) *image.Image {
	return testprog.Image(t, []*image.Map{
		{Name: "by_mark", Type: catalog.MapHash, KeySize: 8, ValueSize: 8, MaxEntries: 64},
		{Name: "total", Type: catalog.MapArray, KeySize: 4, ValueSize: 8, MaxEntries: 1},
		{Name: "events", Type: catalog.MapRingBuf, MaxEntries: 4096},
	}, testprog.Prog{Name: "marks", Type: catalog.ProgSchedCls, Text: marks})
}

func engineName() string {
	if engine.Checked {
		return "checked"
	}
	return "jit"
}

// peerMachine makes the second process's machine, of an engine by its name.
func peerMachine(name string) (*skep.Machine, error) {
	o := skep.MachineOptions{CPUs: 2}
	switch name {
	case "checked":
		o.Checked = true
	case "interpreter":
		o.JIT = skep.JITOff
	case "jit":
		o.JIT = skep.JITOn
	}
	return skep.NewMachine(&o)
}

// peer is the second process: "ROLE ENGINE COUNT".
func peer(what string) error {
	var role, eng string
	var count uint32
	if _, err := fmt.Sscan(what, &role, &eng, &count); err != nil {
		return err
	}
	m, err := peerMachine(eng)
	if err != nil {
		return err
	}
	defer m.Close()
	c, err := net.FileConn(os.NewFile(3, "socket"))
	if err != nil {
		return err
	}
	conn := c.(*net.UnixConn)
	defer conn.Close()
	coll, err := m.Receive(conn)
	if err != nil {
		return fmt.Errorf("%+v", err)
	}
	defer coll.Close()
	fmt.Println("ready")
	switch role {
	case "run":
		for _, p := range coll.Programs {
			return runMarks(p, count)
		}
	case "forever":
		for i := uint32(0); ; i++ {
			for _, p := range coll.Programs {
				if err := runMark(p, i%count, 1); err != nil {
					return err
				}
			}
		}
	case "back": // sends on what it got, when asked
		io.ReadFull(conn, make([]byte, 1))
		return coll.Send(conn)
	}
	return fmt.Errorf("no role %q", role)
}

func runMark(p *skep.Program, mark, ring uint32) error {
	_, err := p.Run(&skep.RunOptions{Data: make([]byte, 64), Context: &skep.SKBuff{Mark: mark, CB: [5]uint32{ring}}})
	return err
}

// runMarks runs a program with the marks 0, 1, … over and over, on two threads.
func runMarks(p *skep.Program, count uint32) error {
	done := make(chan error)
	half := func() {
		for i := range count / 2 {
			if err := runMark(p, i%16, 0); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}
	go half()
	go half()
	return errors.Join(<-done, <-done)
}

// second is the other process.
type second struct {
	t    testing.TB
	cmd  *exec.Cmd
	conn *net.UnixConn
	out  *bufio.Reader
}

func startPeer(t testing.TB, role, eng string, count uint32) *second {
	t.Helper()
	ours, theirs := socketPair(t)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &second{t: t, conn: ours, cmd: exec.Command(exe)}
	p.cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %s %d", peerEnv, role, eng, count))
	f, err := theirs.File()
	if err != nil {
		t.Fatal(err)
	}
	p.cmd.ExtraFiles, p.cmd.Stderr = []*os.File{f}, os.Stderr
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.out = bufio.NewReader(out)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	theirs.Close()
	f.Close()
	t.Cleanup(p.kill)
	return p
}

func (p *second) kill() {
	p.cmd.Process.Kill()
	p.cmd.Wait()
	p.conn.Close()
}

// ready waits until the peer has received.
func (p *second) ready() {
	p.t.Helper()
	if line, err := p.out.ReadString('\n'); line != "ready\n" {
		p.t.Fatalf("the peer says %q, %v", line, err)
	}
}

// end waits for the peer's good end.
func (p *second) end() {
	p.t.Helper()
	rest, _ := io.ReadAll(p.out)
	if err := p.cmd.Wait(); err != nil || len(rest) != 0 {
		p.t.Fatalf("the peer ended by %v: %s", err, rest)
	}
}

func socketPair(t testing.TB) (a, b *net.UnixConn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var ends [2]*net.UnixConn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "socket")
		c, err := net.FileConn(f)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		ends[i] = c.(*net.UnixConn)
		t.Cleanup(func() { c.Close() })
	}
	return ends[0], ends[1]
}

// shared loads an image with memory for several processes.
func shared(t testing.TB, m *skep.Machine, img *image.Image) *skep.Collection {
	t.Helper()
	coll, err := m.LoadCollectionWithOptions(img, skep.CollectionOptions{Share: true})
	if err != nil {
		t.Fatalf("%+v", err)
	}
	t.Cleanup(coll.Close)
	return coll
}

// Counters that two processes add to at once, each on its engine, lose nothing.
func TestSharedCounters(t *testing.T) {
	const n = 4000
	for _, eng := range []string{"checked", "interpreter", "jit"} {
		t.Run(eng, func(t *testing.T) {
			coll := shared(t, machine(t, skep.MachineOptions{CPUs: 2}), sharedImage(t))
			p := startPeer(t, "run", eng, n)
			if err := coll.Send(p.conn); err != nil {
				t.Fatal(err)
			}
			p.ready()
			if err := runMarks(coll.Programs["marks"], n); err != nil {
				t.Fatal(err)
			}
			p.end()
			var total, sum, one uint64
			if err := coll.Maps["total"].Lookup(uint32(0), &total); err != nil || total != 2*n {
				t.Errorf("the array has %d, %v, want %d", total, err, 2*n)
			}
			keys := 0
			var key uint64
			for it := coll.Maps["by_mark"].Iterate(); it.Next(&key, &one); keys++ {
				sum += one
			}
			if sum != 2*n || keys != 16 {
				t.Errorf("the hash map has %d in %d keys, want %d in 16", sum, keys, 2*n)
			}
		})
	}
}

// Each process has CPUs of its own in per-CPU maps, so that plain additions are enough; who comes after one that is gone counts
// on from where that one was.
func TestSharedPerCPU(t *testing.T) {
	const n, rounds = 1000, 3
	m := machine(t, skep.MachineOptions{CPUs: 2})
	coll, err := m.LoadCollectionWithOptions(testprog.Image(t, []*image.Map{
		{Name: "array", Type: catalog.MapPerCPUArray, KeySize: 4, ValueSize: 8, MaxEntries: 2},
		{Name: "hash", Type: catalog.MapPerCPUHash, KeySize: 8, ValueSize: 8, MaxEntries: 16},
		{Name: "queue", Type: catalog.MapQueue, ValueSize: 8, MaxEntries: 4},
	}, testprog.Prog{Name: "percpu", Type: catalog.ProgSchedCls, Text: percpu}), skep.CollectionOptions{Share: true, Processes: 2})
	if err != nil {
		t.Fatalf("%+v", err)
	}
	defer coll.Close()
	if got := coll.Maps["array"].CPUs(); got != 4 {
		t.Errorf("%d CPUs, want 2 for each of 2 processes", got)
	}
	for round := range uint64(rounds) {
		p := startPeer(t, "run", []string{"checked", "interpreter", "jit"}[round], n)
		if err := coll.Send(p.conn); err != nil {
			t.Fatal(err)
		}
		p.ready()
		if err := runMarks(coll.Programs["percpu"], n); err != nil {
			t.Fatal(err)
		}
		p.end()
		sum := func(m *skep.Map, key any) (sum uint64) {
			var each []uint64
			if err := m.Lookup(key, &each); err != nil || len(each) != 4 {
				t.Fatalf("%d values, %v", len(each), err)
			}
			for _, v := range each {
				sum += v
			}
			return sum
		}
		want := 2 * n * (round + 1)
		if got := sum(coll.Maps["array"], uint32(0)); got != want {
			t.Errorf("the array has %d, want %d", got, want)
		}
		got := uint64(0)
		for k := range uint64(16) {
			got += sum(coll.Maps["hash"], k)
		}
		if got != want {
			t.Errorf("the hash map has %d, want %d", got, want)
		}
		for range 4 {
			var v uint64
			if err := coll.Maps["queue"].LookupAndDelete(nil, &v); err != nil || v > 15 {
				t.Errorf("the queue has %d, %v", v, err)
			}
		}
	}
	a, b := socketPair(t)
	for range 2 {
		if err := coll.Send(a); err != nil {
			t.Fatal(err)
		}
	}
	second, err := m.Receive(b)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	if _, err := m.Receive(b); err == nil || !strings.Contains(err.Error(), "2 processes have it already") {
		t.Errorf("a third process: %v", err)
	}
}

// A bpf_spin_lock in a value keeps programs of other processes out, and user code with UpdateLock; that of a killed holder
// is free.
func TestSharedSpinLock(t *testing.T) {
	const n = 2000
	u32 := &btf.Int{Name: "unsigned int", Size: 4}
	value := &btf.Struct{Name: "value", Size: 16, Members: []btf.Member{
		{Name: "lock", Type: &btf.Struct{Name: "bpf_spin_lock", Size: 4, Members: []btf.Member{{Name: "val", Type: u32}}}},
		{Name: "a", Type: u32, Offset: 32}, {Name: "b", Type: u32, Offset: 64}, {Name: "bad", Type: u32, Offset: 96}}}
	for _, typ := range []skep.MapType{catalog.MapArray, catalog.MapHash} {
		t.Run(typ.String(), func(t *testing.T) {
			coll := shared(t, machine(t, skep.MachineOptions{CPUs: 2}), testprog.Image(t, []*image.Map{
				{Name: "m", Type: typ, KeySize: 4, ValueSize: 16, MaxEntries: 1, Key: u32, Value: value}},
				testprog.Prog{Name: "locked", Type: catalog.ProgSchedCls, Text: locked}))
			m, p := coll.Maps["m"], coll.Programs["locked"]
			var v [4]uint32
			if err := m.Put(uint32(0), v); err != nil {
				t.Fatal(err)
			}
			peer := startPeer(t, "run", "jit", n)
			if err := coll.Send(peer.conn); err != nil {
				t.Fatal(err)
			}
			peer.ready()
			if err := runMarks(p, n); err != nil {
				t.Fatal(err)
			}
			for range 100 {
				if err := m.LookupWithFlags(uint32(0), &v, skep.LookupLock); err != nil || v[1] != v[2] {
					t.Fatalf("under the lock: %d, %v", v, err)
				}
			}
			peer.end()
			if err := m.Lookup(uint32(0), &v); err != nil || v != [4]uint32{0, 2 * n, 2 * n, 0} {
				t.Errorf("%d, %v, want %d twice", v, err, 2*n)
			}
			for range 3 {
				peer := startPeer(t, "forever", "jit", 1)
				if err := coll.Send(peer.conn); err != nil {
					t.Fatal(err)
				}
				peer.ready()
				for range 500 {
					runMark(p, 0, 0)
				}
				peer.kill()
				if err := runMark(p, 0, 0); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// What goes to another process and comes back is the same memory: every map, and code that uses it.
func TestSharedThereAndBack(t *testing.T) {
	m := machine(t, skep.MachineOptions{CPUs: 1})
	coll := shared(t, m, sharedImage(t))
	p := startPeer(t, "back", engineName(), 0)
	if err := coll.Send(p.conn); err != nil {
		t.Fatal(err)
	}
	p.ready()
	p.conn.Write([]byte{1})
	back, err := m.Receive(p.conn)
	if err != nil {
		t.Fatal(err)
	}
	defer back.Close()
	p.end()
	if len(back.Maps) != 3 || len(back.Programs) != 1 {
		t.Fatalf("%d maps, %d programs came back", len(back.Maps), len(back.Programs))
	}
	if err := coll.Maps["by_mark"].Put(uint64(7), uint64(41)); err != nil {
		t.Fatal(err)
	}
	if err := runMark(back.Programs["marks"], 7, 1); err != nil {
		t.Fatal(err)
	}
	var v uint64
	if err := coll.Maps["by_mark"].Lookup(uint64(7), &v); err != nil || v != 42 {
		t.Errorf("the hash map has %d, %v, want 42", v, err)
	}
	r, err := ringbuf.NewReader(coll.Maps["events"])
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if rec, err := r.Read(); err != nil || rec.RawSample[0] != 7 {
		t.Errorf("the ring has %v, %v", rec.RawSample, err)
	}
	if _, err := m.Receive(p.conn); !errors.Is(err, io.EOF) {
		t.Errorf("receiving from a process that is gone: %v, want EOF", err)
	}
}

// A process that is killed in the middle of updates leaves a table that others go on with.
func TestSharedSurvivesKill(t *testing.T) {
	coll := shared(t, machine(t, skep.MachineOptions{CPUs: 1}), testprog.Image(t, []*image.Map{
		{Name: "table", Type: catalog.MapHash, KeySize: 8, ValueSize: 8, MaxEntries: 24}},
		testprog.Prog{Name: "churn", Type: catalog.ProgSchedCls, Text: churn}))
	const keys = 30 // more than fit
	rounds := 12
	if testing.Short() {
		rounds = 3
	}
	for round := range rounds {
		p := startPeer(t, "forever", "jit", keys)
		if err := coll.Send(p.conn); err != nil {
			t.Fatal(err)
		}
		p.ready()
		for i := range uint32(2000 + 100*round) {
			if err := runMark(coll.Programs["churn"], i%keys, 0); err != nil {
				t.Fatal(err)
			}
		}
		p.kill()
		checkTable(t, coll.Maps["table"], keys, 24)
	}
}

// checkTable looks at every key, empties the map, and fills it to the last element.
func checkTable(t *testing.T, m *skep.Map, keys uint64, room int) {
	t.Helper()
	seen := map[uint64]bool{}
	var k, v uint64
	it := m.Iterate()
	for it.Next(&k, &v) {
		if seen[k] || k >= keys || v != k {
			t.Fatalf("key %d has %d, seen before: %v", k, v, seen[k])
		}
		seen[k] = true
	}
	if it.Err() != nil || len(seen) > room {
		t.Fatalf("%d keys, %v", len(seen), it.Err())
	}
	for k := range keys {
		if err := m.Delete(k); (err == nil) != seen[k] {
			t.Fatalf("delete of key %d, there: %v: %v", k, seen[k], err)
		}
		if err := m.Lookup(k, &v); !errors.Is(err, skep.ErrKeyNotExist) {
			t.Fatalf("key %d is there after its deletion: %d, %v", k, v, err)
		}
	}
	for k := range uint64(room) {
		if err := m.Put(k, k); err != nil {
			t.Fatalf("the table was empty, and takes only %d of %d: %v", k, room, err)
		}
	}
	if err := m.Put(uint64(room), uint64(room)); !errors.Is(err, skep.ErrMapFull) {
		t.Fatalf("one more: %v", err)
	}
}

// Records of a ring buffer that several processes write come out whole; what a killed one had reserved is passed over, and
// who waits is woken.
func TestSharedRing(t *testing.T) {
	coll := shared(t, machine(t, skep.MachineOptions{CPUs: 1}), testprog.Image(t, []*image.Map{
		{Name: "ring", Type: catalog.MapRingBuf, MaxEntries: 4096}},
		testprog.Prog{Name: "hold", Type: catalog.ProgSchedCls, Text: hold}))
	r, err := ringbuf.NewReader(coll.Maps["ring"])
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	rounds := 8
	if testing.Short() {
		rounds = 2
	}
	for range rounds {
		p := startPeer(t, "forever", "jit", 1000)
		if err := coll.Send(p.conn); err != nil {
			t.Fatal(err)
		}
		p.ready()
		for i := range 3000 {
			rec, err := r.Read()
			if err != nil {
				t.Fatal(err)
			}
			if len(rec.RawSample) != 16 || string(rec.RawSample[:8]) != string(rec.RawSample[8:]) {
				t.Fatalf("record %d is %x", i, rec.RawSample)
			}
		}
		p.kill()
		r.SetDeadline(time.Now().Add(-time.Second))
		for err = nil; err == nil; { // until the ring is empty
			_, err = r.Read()
		}
		r.SetDeadline(time.Time{})
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal(err)
		}
		if err := runMark(coll.Programs["hold"], 5, 0); err != nil {
			t.Fatal(err)
		}
		if rec, err := r.Read(); err != nil || rec.RawSample[0] != 5 {
			t.Fatalf("after a kill: %v, %v", rec, err)
		}
	}
}

// Constants go as memory nobody can change, so that the verifier goes by them on both sides.
func TestSharedConstants(t *testing.T) {
	m := machine(t, skep.MachineOptions{CPUs: 1})
	img := testprog.Image(t, []*image.Map{{Name: ".rodata", KernelName: "x.rodata", Kind: image.KindRodata, Type: catalog.MapArray,
		KeySize: 4, ValueSize: 8, MaxEntries: 1, Flags: catalog.FlagRdonlyProg, Data: []byte{1, 0, 0, 0, 0, 0, 0, 0}, Freeze: true}},
		// Only who knows that the constant is 1 sees that the division by r1's memory is never reached.
		testprog.Prog{Name: "one", Type: catalog.ProgSchedCls, Text: `
			r1 = map_idx_value[0][0] ll
			r0 = *(u32 *)(r1 + 0)
			if r0 == 1 goto out
			r0 = *(u64 *)(r0 + 0)
		out:
			exit`})
	coll := shared(t, m, img)
	if coll.Maps[".rodata"].Shared() {
		t.Error("constants lie in memory that others can write")
	}
	a, b := socketPair(t)
	if err := coll.Send(a); err != nil {
		t.Fatal(err)
	}
	got, err := m.Receive(b)
	if err != nil {
		t.Fatalf("%+v", err)
	}
	defer got.Close()
	var v uint64
	ro := got.Maps[".rodata"]
	if err := ro.Lookup(uint32(0), &v); err != nil || v != 1 {
		t.Errorf("constant is %d, %v", v, err)
	}
	var num skep.Errno
	if err := ro.Put(uint32(0), uint64(2)); !errors.As(err, &num) || num.Name() != "EPERM" {
		t.Errorf("it was written: %v", err)
	}
	if err := got.Send(b); err != nil { // and on
		t.Fatal(err)
	}
	again, err := m.Receive(a)
	if err != nil {
		t.Fatalf("%+v", err)
	}
	again.Close()
}

// A program array arrives with the programs that came in it, and each process changes its own.
func TestSendTailCalls(t *testing.T) {
	m := machine(t, skep.MachineOptions{CPUs: 1})
	img := testprog.Image(t, []*image.Map{{Name: "jumps", Type: catalog.MapProgArray, KeySize: 4, ValueSize: 4, MaxEntries: 3}},
		testprog.Prog{Name: "first", Type: catalog.ProgSchedCls, Text: `
			r2 = map_idx[0] ll
			r3 = 1
			call bpf_tail_call
			r0 = 1
			exit`},
		testprog.Prog{Name: "second", Type: catalog.ProgSchedCls, Text: "r0 = 7\nexit"})
	img.Maps[0].Slots = []image.Slot{{Key: 1, Prog: img.Programs[1]}}
	coll := shared(t, m, img)
	coll.Maps["too"] = coll.Maps["jumps"].Clone()
	a, b := socketPair(t)
	if err := coll.Send(a); err != nil {
		t.Fatal(err)
	}
	got, err := m.Receive(b)
	if err != nil {
		t.Fatalf("%+v", err)
	}
	defer got.Close()
	run := func(c *skep.Collection) uint32 {
		ret, _, err := c.Programs["first"].Test(make([]byte, 64))
		if err != nil {
			t.Fatal(err)
		}
		return ret
	}
	if ret := run(got); ret != 7 {
		t.Errorf("the tail call gave %d", ret)
	}
	if err := coll.Maps["jumps"].Delete(uint32(1)); err != nil {
		t.Fatal(err)
	}
	if ours, theirs := run(coll), run(got); ours != 1 || theirs != 7 {
		t.Errorf("after a deletion here: %d here, %d there", ours, theirs)
	}
	if err := got.Maps["too"].Delete(uint32(1)); err != nil || run(got) != 1 {
		t.Errorf("the other name is of another map: %v", err)
	}
	if err := coll.Maps["jumps"].Put(uint32(0), got.Programs["second"]); err != nil {
		t.Fatal(err)
	}
	if err := coll.Send(a); err == nil || err.Error() != "send: map jumps: the program in entry 0 is not among the collection's" {
		t.Errorf("a program from elsewhere: %v", err)
	}
}

// What cannot be shared is named, and nothing is sent.
func TestSendRefuses(t *testing.T) {
	m := machine(t, skep.MachineOptions{CPUs: 1})
	a, b := socketPair(t)
	maps := []*image.Map{{Name: "recent", Type: catalog.MapLRUHash, KeySize: 4, ValueSize: 4, MaxEntries: 8}}
	coll := shared(t, m, testprog.Image(t, maps))
	private := load(t, m, testprog.Image(t, []*image.Map{arrayMap("mine", 4, 1)}))
	for _, c := range []struct {
		coll *skep.Collection
		want string
	}{
		{coll, "send: map recent cannot be shared with other processes: those of type lru_hash are of one process alone"},
		{private, "send: map mine cannot be shared with other processes: it was not made to be (CollectionOptions.Share)"},
	} {
		if err := c.coll.Send(a); !errors.Is(err, skep.ErrNotSupported) || err.Error() != c.want {
			t.Errorf("%v\nwant %s", err, c.want)
		}
	}
	a.Close()
	if _, err := m.Receive(b); !errors.Is(err, io.EOF) {
		t.Errorf("after refusals: %v, want nothing to have been sent", err)
	}
}

// A frozen map is frozen in all processes.
func TestSharedFreeze(t *testing.T) {
	m := machine(t, skep.MachineOptions{CPUs: 1})
	coll := shared(t, m, testprog.Image(t, []*image.Map{arrayMap("a", 4, 1)}))
	f, err := coll.Maps["a"].File()
	if err != nil {
		t.Fatal(err)
	}
	other, err := m.OpenMap(f)
	f.Close()
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := coll.Maps["a"].Freeze(); err != nil {
		t.Fatal(err)
	}
	if err := other.Put(uint32(0), uint32(1)); err == nil {
		t.Error("a map frozen elsewhere was written")
	}
}

// Sending, receiving and closing leaves no descriptor and no mapping behind; nor do refusals.
func TestShareLeaksNothing(t *testing.T) {
	m := machine(t, skep.MachineOptions{CPUs: 1})
	a, b := socketPair(t)
	round := func() {
		coll, err := m.LoadCollectionWithOptions(sharedImage(t), skep.CollectionOptions{Share: true})
		if err != nil {
			t.Fatal(err)
		}
		if err := coll.Send(a); err != nil {
			t.Fatal(err)
		}
		got, err := m.Receive(b)
		if err != nil {
			t.Fatal(err)
		}
		r, err := ringbuf.NewReader(got.Maps["events"])
		if err != nil {
			t.Fatal(err)
		}
		r.SetDeadline(time.Now().Add(-time.Second))
		r.Read()
		r.Close()
		got.Close()
		if f, err := os.CreateTemp(t.TempDir(), ""); err == nil {
			if _, err := m.OpenMap(f); !errors.Is(err, skep.ErrBadPeer) {
				t.Fatalf("a file on disk: %v", err)
			}
			f.Close()
		}
		coll.Close()
	}
	round()
	fds, spans := usage(t)
	for range 50 {
		round()
	}
	if f, s := usage(t); f > fds || s > spans+4 {
		t.Errorf("%d descriptors were %d, %d mappings of maps were %d", f, fds, s, spans)
	}
}

// usage counts the process's descriptors, and its mappings of shared memory.
func usage(t *testing.T) (fds, spans int) {
	t.Helper()
	dir, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	return len(dir), strings.Count(string(maps), "memfd:bpf-map")
}
