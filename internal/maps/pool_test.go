package maps

import (
	"encoding/binary"
	"testing"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/mem"
)

// TestReuse deletes and inserts far more often within one run than there are
// elements: no insert fails, though nothing the run deleted may be reused at
// first. In many short runs the same elements do.
func TestReuse(t *testing.T) {
	for _, d := range []catalog.MapDef{
		{Type: catalog.MapHash, KeySize: 4, ValueSize: 8, MaxEntries: 1},
		{Type: catalog.MapPerCPUHash, KeySize: 4, ValueSize: 8, MaxEntries: 1, Flags: catalog.FlagNoPrealloc},
	} {
		epoch := mem.NewEpoch(1)
		mp, err := New(&Config{CPUs: 1, Epoch: epoch}, d)
		if err != nil {
			t.Fatal(err)
		}
		defer mp.Close()
		var p *pool
		switch m := mp.(type) {
		case *Hash:
			p = &m.t.pool
		case *PerCPUHash:
			p = &m.t.pool
		}
		b, err := mem.Alloc(64)
		if err != nil {
			t.Fatal(err)
		}
		defer b.Free()
		key, value := b.Addr(), b.Addr()+8
		cycle := func(n int) {
			for i := range n {
				mem.Store32(key, uint32(i))
				if r := mp.ProgUpdate(0, key, value, catalog.UpdateNoExist); r != 0 {
					t.Fatalf("insert %d: %d", i, int64(r))
				}
				if r := mp.ProgDelete(0, key); r != 0 {
					t.Fatalf("delete %d: %d", i, int64(r))
				}
			}
		}
		for range 200 {
			epoch.Enter(0)
			cycle(10)
			epoch.Leave(0)
		}
		if p.fresh > 4*reclaimBatch {
			t.Errorf("type %v: %d elements for 10 at a time", d.Type, p.fresh)
		}
		epoch.Enter(0)
		cycle(3 * int(p.size))
		epoch.Leave(0)
	}
}

// TestStaleElement: while a run lasts, what it found is not given to another key.
func TestStaleElement(t *testing.T) {
	epoch := mem.NewEpoch(1)
	m, err := New(&Config{CPUs: 1, Epoch: epoch}, catalog.MapDef{Type: catalog.MapHash, KeySize: 4, ValueSize: 8, MaxEntries: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	k := func(n uint32) []byte { return binary.NativeEndian.AppendUint32(nil, n) }
	v := func(n uint64) []byte { return binary.NativeEndian.AppendUint64(nil, n) }
	if err := m.Update(k(1), v(1111), 0); err != nil {
		t.Fatal(err)
	}
	b, err := mem.Alloc(8)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Free()
	mem.Store32(b.Addr(), 1)
	epoch.Enter(0)
	at := m.ProgLookup(0, b.Addr())
	for n := range uint32(1000) {
		m.Delete(k(n + 1))
		m.Update(k(n+2), v(2222), 0)
	}
	if got := mem.Load64(at); got != 1111 {
		t.Errorf("the value a run holds became %d", got)
	}
	epoch.Leave(0)
}

// TestNullsMarker: a reader that stood on an element which was given to another
// bucket begins again instead of missing its key.
func TestNullsMarker(t *testing.T) {
	tab, e := newTable(64, 0, 4, 8, 0, nil)
	if e != 0 {
		t.Fatal(e)
	}
	defer tab.block.Free()
	// A chain whose end is another bucket's: find must not take that for its
	// own end. A second reader repairs the chain, as the writer would.
	key := []byte{7, 0, 0, 0}
	h := tab.hashOf(ptr(key))
	i := tab.pool.get()
	tab.fill(i, ptr([]byte{9, 9, 9, 9}), h)
	tab.link(i)
	*tab.next(i) = LinkEnd | (h+1)&tab.mask
	found := make(chan uint32)
	go func() { found <- tab.find(ptr(key), h) }()
	j := tab.pool.get()
	tab.fill(j, ptr(key), h)
	*tab.next(j) = LinkEnd | h&tab.mask
	tab.link(j)
	if got := <-found; got != j {
		t.Errorf("found %d, want %d", got, j)
	}
}
