package maps_test

import (
	"testing"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/linux"
	"github.com/skep-bpf/skep/internal/maps"
	"github.com/skep-bpf/skep/internal/mem"
)

func newArena(t *testing.T, pages uint32, extra uint64) *maps.Arena {
	t.Helper()
	if !maps.Supported(catalog.MapArena) {
		t.Skip("no arenas where memory is not taken lazily")
	}
	d := def(catalog.MapArena, 0, 0, pages, catalog.FlagMmapable)
	d.Extra = extra
	m, err := maps.New(nil, d)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return m.(*maps.Arena)
}

// TestArenaPages allocates and frees pages as bpf_arena_alloc_pages does.
func TestArenaPages(t *testing.T) {
	const user, page = 0x1_0000_3000, 4096
	a := newArena(t, 8, user)
	kernel := func(addr uint64) uint64 { return a.Def().ValueBase + uint64(uint32(addr)) }
	if a.Def().ValueBase%(1<<32) != 0 {
		t.Errorf("base %#x", a.Def().ValueBase)
	}
	first := a.AllocPages(0, 2)
	if first != user {
		t.Fatalf("the first pages lie at %#x", first)
	}
	mem.Store64(kernel(first)+page+8, 77)
	if got := a.Pages(page, 16); len(got) != 16 || got[8] != 77 {
		t.Errorf("user space sees %x", got)
	}
	for _, c := range []struct {
		addr uint64
		n    uint32
		want uint64
	}{
		{user + page, 1, 0},               // taken
		{user + 1, 1, 0},                  // not a page
		{user + 7*page, 2, 0},             // beyond the end
		{user - page, 1, 0},               // before the beginning
		{user + 4*page, 2, user + 4*page}, // free
		{0, 3, 0},                         // no such gap: 2–3, 6–7
		{0, 2, user + 2*page}, {0, 9, 0}, {0, 0, 0}, {0, 2, user + 6*page}, {0, 1, 0},
	} {
		if got := a.AllocPages(c.addr, c.n); got != c.want {
			t.Errorf("%d pages at %#x: %#x, want %#x", c.n, c.addr, got, c.want)
		}
	}
	if a.Used() != 8 {
		t.Errorf("%d pages in use", a.Used())
	}
	a.FreePages(first+page, 1)
	a.FreePages(user+7*page, 100)
	a.FreePages(user+8*page, 1)
	a.FreePages(0, 1)
	if a.Used() != 6 {
		t.Errorf("%d pages in use", a.Used())
	}
	if again := a.AllocPages(0, 1); again != first+page || mem.Load64(kernel(again)+8) != 0 {
		t.Errorf("the freed page: %#x, with its old content", again)
	}
	if a.Pages(8*page-4, 8) != nil || a.Pages(1<<63, 1<<63) != nil {
		t.Error("bytes beyond the arena")
	}
	// Offsets of accesses reach beyond both ends.
	mem.Store64(a.Def().ValueBase-32768, 1)
	mem.Store64(a.Def().ValueBase+1<<32+32760, 1)
}

// TestArenaAgainstKernel compares creation and the operations it refuses.
func TestArenaAgainstKernel(t *testing.T) {
	cfg := config(t)
	for _, extra := range []uint64{0, 1, 4096, 1 << 44, 1<<44 | 0xfffff000, 1<<44 | 0xffffe000} {
		for _, pages := range []uint32{0, 1, 2, 100, 1 << 20, 1<<20 + 1, 1<<32 - 1} {
			d := def(catalog.MapArena, 0, 0, pages, catalog.FlagMmapable)
			d.Extra = extra
			ours, err := maps.New(cfg, d)
			if err == nil {
				ours.Close()
			}
			kern, kerr := linux.NewMap(&d, nil)
			if kerr == nil {
				kern.Close()
			}
			if a, b := number(t, err), number(t, kerr); a != b {
				t.Errorf("%d pages at %#x: %v, kernel says %v", pages, extra, a, b)
			}
		}
	}
	p := newPair(t, def(catalog.MapArena, 0, 0, 4, catalog.FlagMmapable))
	p.update(nil, nil, 0)
	p.delete(nil)
	if p.pop(nil, 0) != errno.ENOTSUPP {
		t.Error("arenas can be popped")
	}
	p.same("lookup", p.ours.Lookup(nil, nil, 0), p.kern.Lookup(nil, nil, 0))
	p.same("next key", p.ours.NextKey(nil, nil), p.kern.NextKey(nil, nil))
	p.batch(batchUpdate, maps.Batch{Count: 1})
	p.freeze()
}
