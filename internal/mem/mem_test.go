package mem

import (
	"sync"
	"sync/atomic"
	"testing"
)

func TestAlloc(t *testing.T) {
	for _, alloc := range []func(int) (*Block, error){Alloc, AllocGuarded} {
		if _, err := alloc(0); err == nil {
			t.Error("an empty block was given")
		}
		b, err := alloc(5000)
		if err != nil {
			t.Fatal(err)
		}
		if b.Size() != 5000 || len(b.Bytes()) != 5000 {
			t.Errorf("size %d", b.Size())
		}
		end := b.Addr() + uint64(b.Size())
		Store64(end-8, 0x0102030405060708)
		if got := b.Bytes()[4992]; got != 8 && got != 1 {
			t.Errorf("address and slice disagree: %d", got)
		}
		if Load32(end-8)^Load32(end-4) != 0x0102030405060708>>32^0x05060708 || Load16(b.Addr()) != 0 || Load8(b.Addr()) != 0 {
			t.Error("loads disagree with the store")
		}
		b.Free()
		b.Free()
	}
}

func TestEpochWaitsForHolders(t *testing.T) {
	e := NewEpoch(2)
	var got []string
	retire := func(name string) { e.Retire(func() { got = append(got, name) }) }
	e.Enter(0)
	retire("a")
	e.Enter(1)
	retire("b")
	if n := e.Reclaim(); n != 2 {
		t.Fatalf("%d wait, want both", n)
	}
	e.Leave(0)
	if len(got) != 1 || got[0] != "a" {
		t.Fatalf("after vCPU 0 left: %v, want a", got)
	}
	pin := e.Pin()
	e.Leave(1)
	if len(got) != 2 {
		t.Fatalf("a pin from after the retirement held it back: %v", got)
	}
	retire("c")
	if e.Reclaim() != 1 {
		t.Error("the pin did not hold c")
	}
	e.Unpin(pin)
	if len(got) != 3 {
		t.Errorf("%v, want a b c", got)
	}
}

// An element a run can reach is never handed out again under it: each run
// checks that the element it found keeps its mark until the run ends.
func TestEpochUnderContention(t *testing.T) {
	const cpus, rounds = 4, 20000
	e, s := NewEpoch(cpus), NewSlab(16, 64)
	defer s.Free()
	var current atomic.Uint64
	put := func(mark uint64) {
		addr, err := s.Get()
		if err != nil {
			t.Error(err)
			return
		}
		atomic.StoreUint64((*uint64)(Ptr(addr+8)), mark)
		if old := current.Swap(addr); old != 0 {
			e.RetireAddr(s, old)
		}
	}
	put(1)
	var wg sync.WaitGroup
	for cpu := range cpus {
		wg.Go(func() {
			for i := range uint64(rounds) {
				e.Enter(cpu)
				addr := current.Load()
				before := atomic.LoadUint64((*uint64)(Ptr(addr + 8)))
				if i%3 == 0 {
					put(uint64(cpu+1)<<32 | i)
				}
				if after := atomic.LoadUint64((*uint64)(Ptr(addr + 8))); after != before {
					t.Errorf("element reused under a run: %#x became %#x", before, after)
				}
				e.Leave(cpu)
			}
		})
	}
	wg.Wait()
	e.Wait()
	if n := e.Reclaim(); n != 0 {
		t.Errorf("%d elements still wait after everyone left", n)
	}
}

func TestSlab(t *testing.T) {
	s := NewSlab(12, 3)
	defer s.Free()
	if s.Size() != 16 {
		t.Errorf("size %d, want 16", s.Size())
	}
	seen := map[uint64]bool{}
	var last uint64
	for range 10 {
		a, err := s.Get()
		if err != nil {
			t.Fatal(err)
		}
		if a%8 != 0 || seen[a] {
			t.Fatalf("element %#x misaligned or given twice", a)
		}
		seen[a], last = true, a
	}
	s.Put(last)
	if a, _ := s.Get(); a != last {
		t.Errorf("%#x, want the element put back, %#x", a, last)
	}
}

func TestEpochAllocatesNothing(t *testing.T) {
	e := NewEpoch(1)
	if n := testing.AllocsPerRun(1000, func() { e.Enter(0); e.Leave(0) }); n != 0 {
		t.Errorf("%v allocations to enter and leave", n)
	}
}

func TestReadable(t *testing.T) {
	a, err := AllocGuarded(100)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		addr uint64
		n    int
		want bool
	}{
		{a.Addr(), 100, true}, {a.Addr(), 101, false}, {a.Addr() - 1, 2, false}, {a.Addr() + 99, 1, true},
		{a.Addr() + 100, 1, false}, {0, 8, false}, {^uint64(0), 8, false},
	} {
		if got := Readable(c.addr, c.n); got != c.want {
			t.Errorf("%d bytes at block%+d: %v, want %v", c.n, int64(c.addr-a.Addr()), got, c.want)
		}
	}
	at := a.Addr()
	a.Free()
	if Readable(at, 1) {
		t.Error("freed memory counts as readable")
	}
}
