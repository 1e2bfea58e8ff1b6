package skep_test

import (
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep"
	"github.com/skep-bpf/skep/image"
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/testprog"
	"github.com/skep-bpf/skep/ringbuf"
)

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
