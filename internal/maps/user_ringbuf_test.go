package maps_test

import (
	"encoding/binary"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/maps"
	"github.com/skep-bpf/skep/internal/mem"
)

func newUserRing(t *testing.T) *maps.UserRingBuf {
	t.Helper()
	m, err := maps.New(nil, def(catalog.MapUserRingBuf, 0, 0, uint32(os.Getpagesize()), 0))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return m.(*maps.UserRingBuf)
}

// TestUserRingBuf fills the ring from user space and empties it as programs do.
func TestUserRingBuf(t *testing.T) {
	m := newUserRing(t)
	nothing := func(uint64, uint64) uint64 { t.Error("a record"); return 0 }
	if got := m.ProgDrain(0, nothing); got != 0 {
		t.Errorf("an empty ring: %d", int64(got))
	}
	if got := int64(m.ProgDrain(4, nothing)); got != -int64(errno.EINVAL) {
		t.Errorf("unknown flag: %d", got)
	}
	r := rand.New(rand.NewPCG(16, 16))
	var want [][]byte
	drained := 0
	for range 2000 {
		rec := m.Reserve(r.IntN(200))
		if rec == nil || r.IntN(9) == 0 {
			if rec != nil {
				m.Discard(rec)
			}
			limit := 1 + r.IntN(5)
			n := m.ProgDrain(0, func(sample, size uint64) uint64 {
				got := mem.Bytes(sample, int(size))
				if len(want) == 0 || string(got) != string(want[0]) {
					t.Fatalf("record %x", got)
				}
				want = want[1:]
				drained++
				if limit--; limit == 0 {
					return 1
				}
				return 0
			})
			if n > 5 {
				t.Fatalf("drained %d", int64(n))
			}
			select {
			case <-m.Room():
			default:
				if n > 0 {
					t.Error("the writer is not told")
				}
			}
			continue
		}
		for i := range rec {
			rec[i] = byte(r.Uint32())
		}
		want = append(want, append([]byte(nil), rec...))
		m.Submit(rec)
	}
	if drained < 500 {
		t.Errorf("only %d records went through", drained)
	}
}

// TestUserRingBufHostile: what a foreign writer may have put there.
func TestUserRingBufHostile(t *testing.T) {
	page := uint64(os.Getpagesize())
	for _, c := range []struct {
		name string
		hdr  uint32
		prod uint64
		want errno.Errno
	}{
		{"odd position", 8, 13, errno.EINVAL},
		{"longer than what was written", 100, 16, errno.EINVAL},
		{"longer than the ring", uint32(page), 4 * page, errno.E2BIG},
		{"length of all ones", 1<<30 - 1, 1 << 40, errno.E2BIG},
		{"busy", 8 | 1<<31, 16, 0},
		{"discarded", 8 | 1<<30, 16, 0},
	} {
		m := newUserRing(t)
		base := m.Def().Ptr
		binary.NativeEndian.PutUint32(mem.Bytes(base+3*page, int(page)), c.hdr)
		mem.Store64(base+2*page, c.prod)
		got := m.ProgDrain(0, func(uint64, uint64) uint64 { t.Errorf("%s: a record", c.name); return 1 })
		if got != uint64(-int64(c.want)) {
			t.Errorf("%s: %d, want %d", c.name, int64(got), -c.want)
		}
	}
	m := newUserRing(t)
	m.Submit(m.Reserve(8))
	m.ProgDrain(0, func(uint64, uint64) uint64 {
		if got := int64(m.ProgDrain(0, nil)); got != -int64(errno.EBUSY) {
			t.Errorf("draining while draining: %d", got)
		}
		return 0
	})
	if m.Reserve(int(page)) != nil || m.Reserve(-1) != nil {
		t.Error("more was reserved than there is")
	}
}
