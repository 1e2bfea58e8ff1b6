package maps_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/maps"
	"github.com/skep-bpf/skep/internal/mem"
)

// event is one finished operation on one key. Times are ticks of a shared
// counter: an operation that ended before another began came first.
type event struct {
	what       string
	flags      uint64
	in, out    uint64 // value written, value read
	err        errno.Errno
	begin, end int64
}

// absent is the state of a key that is not there.
const absent = ^uint64(0)

// apply returns the state after the event if its outcome is possible in state s.
func (e *event) apply(s uint64, always bool) (uint64, bool) {
	switch e.what {
	case "lookup":
		if s == absent {
			return s, e.err == errno.ENOENT
		}
		return s, e.err == 0 && e.out == s
	case "pop":
		if s == absent {
			return s, e.err == errno.ENOENT
		}
		return absent, e.err == 0 && e.out == s
	case "delete":
		if s == absent {
			return s, e.err == errno.ENOENT
		}
		return absent, e.err == 0
	default: // update
		switch {
		case e.flags == catalog.UpdateNoExist && s != absent:
			return s, e.err == errno.EEXIST
		case e.flags == catalog.UpdateExist && s == absent && !always:
			return s, e.err == errno.ENOENT
		}
		return e.in, e.err == 0
	}
}

// linearizable looks for an order of the events that keeps their times and
// explains every outcome, starting from a state (Wing and Gong's search, with
// the visited sets of Lowe).
func linearizable(h []event, start uint64, always bool) bool {
	type node struct {
		done  uint64
		state uint64
	}
	seen := map[node]bool{}
	var search func(node) bool
	search = func(n node) bool {
		if n.done == 1<<len(h)-1 {
			return true
		}
		if seen[n] {
			return false
		}
		seen[n] = true
		first := int64(1) << 62 // the earliest end among those that are left
		for i := range h {
			if n.done>>i&1 == 0 {
				first = min(first, h[i].end)
			}
		}
		for i := range h {
			if n.done>>i&1 != 0 || h[i].begin > first {
				continue
			}
			if s, ok := h[i].apply(n.state, always); ok && search(node{n.done | 1<<i, s}) {
				return true
			}
		}
		return false
	}
	return search(node{0, start})
}

// TestChecker: the checker itself refuses what cannot have happened.
func TestChecker(t *testing.T) {
	ok := []event{{what: "update", in: 1, begin: 1, end: 4}, {what: "lookup", err: errno.ENOENT, begin: 2, end: 3}}
	if !linearizable(ok, absent, false) {
		t.Error("a lookup beside an update may come first")
	}
	stale := []event{{what: "update", in: 1, begin: 1, end: 2}, {what: "update", in: 2, begin: 3, end: 4}, {what: "lookup", out: 1, begin: 5, end: 6}}
	if linearizable(stale, absent, false) {
		t.Error("a stale read passed")
	}
	twice := []event{{what: "update", flags: 1, in: 1, begin: 1, end: 9}, {what: "update", flags: 1, in: 2, begin: 1, end: 9}}
	if linearizable(twice, absent, false) {
		t.Error("two exclusive inserts passed")
	}
}

// TestLinearizable lets user code and programs work on the same keys and looks
// for an order that explains all they saw.
func TestLinearizable(t *testing.T) {
	for _, d := range []catalog.MapDef{
		def(catalog.MapArray, 4, 8, 4, 0), def(catalog.MapHash, 4, 8, 16, 0),
		def(catalog.MapHash, 4, 8, 2, catalog.FlagNoPrealloc),
	} {
		t.Run(fmt.Sprintf("%d/%d", d.Type, d.MaxEntries), func(t *testing.T) {
			const workers, opsEach, keys = 4, 10, 2
			rounds := 300
			if testing.Short() {
				rounds = 30
			}
			epoch := mem.NewEpoch(workers)
			m, err := maps.New(&maps.Config{CPUs: workers, Epoch: epoch}, d)
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			always := d.Type == catalog.MapArray
			var tick atomic.Int64
			scratches := make([]*scratch, workers)
			for w := range scratches {
				scratches[w] = newScratch(t)
			}
			for round := range rounds {
				state := [keys]uint64{absent, absent}
				for k := range state {
					b := make([]byte, 8)
					if m.Lookup(u32(uint32(k)), b, 0) == nil {
						state[k] = binary.NativeEndian.Uint64(b)
					}
				}
				var history [workers][keys][]event
				var wg sync.WaitGroup
				for w := range workers {
					wg.Go(func() {
						r := rand.New(rand.NewPCG(uint64(round), uint64(w)))
						for n := range opsEach {
							key := r.IntN(keys)
							in := uint64(round)<<32 | uint64(w)<<16 | uint64(n)
							e := event{in: in, flags: []uint64{0, 0, 1, 2}[r.IntN(4)], begin: tick.Add(1)}
							if r.IntN(2) == 0 {
								asUser(m, &e, uint32(key), r.IntN(4), always)
							} else {
								epoch.Enter(w)
								asProgram(m, &e, scratches[w], w, uint32(key), r.IntN(3), always)
								epoch.Leave(w)
							}
							e.end = tick.Add(1)
							history[w][key] = append(history[w][key], e)
							if r.IntN(4) == 0 {
								runtime.Gosched()
							}
						}
					})
				}
				wg.Wait()
				for k := range keys {
					var h []event
					for w := range workers {
						h = append(h, history[w][k]...)
					}
					if !linearizable(h, state[k], always) {
						for _, e := range h {
							t.Logf("%+v", e)
						}
						t.Fatalf("round %d key %d: no order explains this, from %x", round, k, state[k])
					}
				}
			}
		})
	}
}

// asUser does one operation of the control side.
func asUser(m maps.Map, e *event, key uint32, op int, always bool) {
	b := make([]byte, 8)
	var err error
	switch {
	case op == 0:
		e.what = "lookup"
		err = m.Lookup(u32(key), b, 0)
	case op == 1 && !always:
		e.what = "delete"
		err = m.Delete(u32(key))
	case op == 2 && !always:
		e.what = "pop"
		err = m.LookupAndDelete(u32(key), b, 0)
	default:
		e.what = "update"
		err = m.Update(u32(key), binary.NativeEndian.AppendUint64(nil, e.in), e.flags)
	}
	e.out = binary.NativeEndian.Uint64(b)
	if err != nil {
		e.err = err.(errno.Errno)
	}
}

// asProgram does one operation of the program side.
func asProgram(m maps.Map, e *event, s *scratch, cpu int, key uint32, op int, always bool) {
	k := s.put(u32(key))
	switch {
	case op == 0:
		e.what = "lookup"
		if at := m.ProgLookup(cpu, k); at == 0 {
			e.err = errno.ENOENT
		} else {
			e.out = mem.Load64(at)
		}
	case op == 1 && !always:
		e.what = "delete"
		e.err = errno.Errno(-int64(m.ProgDelete(cpu, k)))
	default:
		e.what = "update"
		e.err = errno.Errno(-int64(m.ProgUpdate(cpu, k, s.put(binary.NativeEndian.AppendUint64(nil, e.in)), e.flags)))
	}
}
