package skep_test

import (
	"errors"
	"testing"
	"testing/synctest"

	"github.com/skep-bpf/skep"
	"github.com/skep-bpf/skep/image"
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/testprog"
	"github.com/skep-bpf/skep/perf"
	"github.com/skep-bpf/skep/ringbuf"
)

// TestClosedTwice: closing again does nothing, whoever closed first.
func TestClosedTwice(t *testing.T) {
	m := machine(t, skep.MachineOptions{})
	coll, err := m.LoadCollectionFile("examples/firewall/firewall.o")
	if err != nil {
		t.Fatal(err)
	}
	p, mp := coll.Programs["firewall"], coll.Maps["rules"]
	for range 2 {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		if err := mp.Close(); err != nil {
			t.Error(err)
		}
	}
	coll.Close()
	coll.Close()
}

// TestUsedAfterClose: a handle that was closed says so, whatever is asked of it.
func TestUsedAfterClose(t *testing.T) {
	m := machine(t, skep.MachineOptions{})
	coll, err := m.LoadCollection(testprog.Image(t, []*image.Map{
		{Name: "m", Type: catalog.MapHash, KeySize: 4, ValueSize: 4, MaxEntries: 4},
	}, testprog.Prog{Name: "p", Type: catalog.ProgXDP, Text: "r0 = 2\nexit"}))
	if err != nil {
		t.Fatal(err)
	}
	p, mp := coll.Programs["p"], coll.Maps["m"]
	it := mp.Iterate()
	coll.Close()
	cpu := m.AcquireCPU()
	defer cpu.Release()
	var key, value uint32
	keys, values := make([]uint32, 1), make([]uint32, 1)
	for name, use := range map[string]func() error{
		"Run":        func() error { _, err := cpu.Run(p); return err },
		"Test":       func() error { _, _, err := p.Test(make([]byte, 64)); return err },
		"Lookup":     func() error { return mp.Lookup(key, &value) },
		"Bytes":      func() error { _, err := mp.LookupBytes(key); return err },
		"Put":        func() error { return mp.Put(key, value) },
		"Delete":     func() error { return mp.Delete(key) },
		"NextKey":    func() error { return mp.NextKey(nil, &key) },
		"Freeze":     mp.Freeze,
		"Clone":      func() error { return mp.Clone().Put(key, value) },
		"Iterate":    func() error { it.Next(&key, &value); return it.Err() },
		"lookups":    func() error { _, err := mp.BatchLookup(&skep.MapBatchCursor{}, keys, values, nil); return err },
		"updates":    func() error { _, err := mp.BatchUpdate(keys, values, nil); return err },
		"deletes":    func() error { _, err := mp.BatchDelete(keys, nil); return err },
		"a reader":   func() error { _, err := ringbuf.NewReader(mp); return err },
		"perf's too": func() error { _, err := perf.NewReader(mp, 4096); return err },
	} {
		if err := use(); !errors.Is(err, skep.ErrClosed) {
			t.Errorf("%s: %v, want %v", name, err, skep.ErrClosed)
		}
	}
}

// TestReleasedTwice: a CPU that was given back is not taken from whoever holds it now.
func TestReleasedTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := machine(t, skep.MachineOptions{CPUs: 1})
		first := m.AcquireCPU()
		first.Release()
		second := m.AcquireCPU()
		first.Release()
		taken := false
		go func() {
			third := m.AcquireCPU()
			taken = true
			third.Release()
		}()
		synctest.Wait()
		if taken {
			t.Error("two hold the only CPU")
		}
		second.Release()
		synctest.Wait()
		if !taken {
			t.Error("nobody was roused")
		}
	})
}

// TestMachineClosed: nothing runs on a machine that was closed; what was loaded can still be closed.
func TestMachineClosed(t *testing.T) {
	m, err := skep.NewMachine(nil)
	if err != nil {
		t.Fatal(err)
	}
	coll, err := m.LoadCollectionFile("examples/firewall/firewall.o")
	if err != nil {
		t.Fatal(err)
	}
	m.Close()
	m.Close()
	if _, _, err := coll.Programs["firewall"].Test(make([]byte, 64)); !errors.Is(err, skep.ErrClosed) {
		t.Errorf("Test: %v", err)
	}
	if _, err := m.HoldCPU(0); !errors.Is(err, skep.ErrClosed) {
		t.Errorf("HoldCPU: %v", err)
	}
	if _, err := m.LoadCollectionFile("examples/firewall/firewall.o"); !errors.Is(err, skep.ErrClosed) {
		t.Errorf("load: %v", err)
	}
	coll.Close()
}
