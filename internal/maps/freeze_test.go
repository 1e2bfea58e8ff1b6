package maps

import (
	"runtime"
	"testing"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/mem"
)

// TestFreezeWaits: a write that was admitted, but has not got its lock when the map is
// frozen, changes nothing any more; and until that is so the map is not taken for constant.
func TestFreezeWaits(t *testing.T) {
	for _, typ := range []catalog.MapType{catalog.MapHash, catalog.MapPerCPUHash} {
		for _, op := range []struct {
			name string
			do   func(m Map, key, value []byte) error
		}{
			{"update", func(m Map, key, value []byte) error { return m.Update(key, value, 0) }},
			{"delete", func(m Map, key, _ []byte) error { return m.Delete(key) }},
			{"lookup and delete", func(m Map, key, value []byte) error { return m.LookupAndDelete(key, value, 0) }},
		} {
			t.Run(typ.String()+"/"+op.name, func(t *testing.T) {
				m, err := New(&Config{CPUs: 1, Epoch: mem.NewEpoch(1)}, catalog.MapDef{Type: typ, KeySize: 4, ValueSize: 8, MaxEntries: 8})
				if err != nil {
					t.Fatal(err)
				}
				defer m.Close()
				var tab *table
				var c *core
				switch m := m.(type) {
				case *Hash:
					tab, c = m.t, m.core
				case *PerCPUHash:
					tab, c = m.t, m.core
				}
				key, before := u32le(1), []byte("unfrozen")
				if err := m.Update(key, before, 0); err != nil {
					t.Fatal(err)
				}
				l := tab.lock(tab.hashOf(ptr(key)))
				l.Lock()
				wrote, froze := make(chan error), make(chan error)
				go func() { wrote <- op.do(m, key, []byte("too late")) }()
				for l.queue.TryLock() { // until the write waits for the lock
					l.queue.Unlock()
					runtime.Gosched()
				}
				go func() { froze <- m.Freeze() }()
				for !c.frozen.Load() {
					runtime.Gosched()
				}
				if c.writers.Load() == 0 {
					t.Error("the map seems to be constant while a write is under way")
				}
				l.Unlock()
				if err := <-wrote; err != errno.EPERM {
					t.Errorf("the write: %v, want EPERM", err)
				}
				if err := <-froze; err != nil {
					t.Errorf("Freeze: %v", err)
				}
				value := make([]byte, 8)
				if err := m.Lookup(key, value, 0); err != nil || string(value) != string(before) {
					t.Errorf("%q, %v: want %q", value, err, before)
				}
				if c.writers.Load() != 0 {
					t.Error("a write is still counted")
				}
			})
		}
	}
}
