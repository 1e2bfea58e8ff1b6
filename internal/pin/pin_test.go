package pin

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/skep-bpf/skep/internal/errno"
)

// counted is an object that counts its references.
type counted struct{ refs atomic.Int64 }

func (c *counted) Acquire() { c.refs.Add(1) }
func (c *counted) Close()   { c.refs.Add(-1) }

// TestReferences: a name holds one reference, each Get gives one.
func TestReferences(t *testing.T) {
	f := New("")
	o := &counted{}
	if err := f.Pin("/sys/fs/bpf/a", o); err != nil {
		t.Fatal(err)
	}
	if err := f.Pin("/sys/fs/bpf/a", o); err != errno.EEXIST || o.refs.Load() != 1 {
		t.Errorf("pinned twice: %v, %d references", err, o.refs.Load())
	}
	got, err := f.Get("/sys/fs/bpf/a")
	if err != nil || got != Object(o) || o.refs.Load() != 2 {
		t.Errorf("%v, %d references", err, o.refs.Load())
	}
	got.Close()
	other := &counted{}
	f.Mkdir("/sys/fs/bpf/d")
	f.Pin("/sys/fs/bpf/d/b", other)
	if err := f.Rename("/sys/fs/bpf/a", "/sys/fs/bpf/d/b"); err != nil || other.refs.Load() != 0 {
		t.Errorf("renamed over another: %v, %d references", err, other.refs.Load())
	}
	list, err := f.List("/sys/fs/bpf/d")
	if err != nil || len(list) != 1 || list[0].Name != "b" || list[0].Object != Object(o) {
		t.Errorf("%v, %v", list, err)
	}
	if f.Close(); o.refs.Load() != 0 {
		t.Errorf("%d references after the unmount", o.refs.Load())
	}
	for _, p := range []string{"/sys/fs", "/sys/fs/bpfx/a", "/tmp/a", "/sys/fs/bpf/../a", ""} {
		if err := f.Pin(p, o); err != errno.EPERM {
			t.Errorf("pin at %q: %v", p, err)
		}
	}
}

// TestContention pins, finds and removes the same names from many goroutines.
func TestContention(t *testing.T) {
	f := New("/bpf")
	var o counted
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range 2000 {
				p := fmt.Sprintf("/bpf/n%d", i%3)
				f.Pin(p, &o)
				if got, err := f.Get(p); err == nil {
					got.Close()
				}
				f.Rename(p, fmt.Sprintf("/bpf/n%d", (i+1)%3))
				f.Remove(p)
			}
		})
	}
	wg.Wait()
	f.Close()
	if n := o.refs.Load(); n != 0 {
		t.Errorf("%d references left", n)
	}
}
