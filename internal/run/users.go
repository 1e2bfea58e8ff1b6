package run

import (
	"sync"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/maps"
)

// users counts the handles that user code holds on maps with timers
// (bpf_map.usercnt). A timer keeps its program, and that the map: only the end
// of the last handle can tell that nobody outside wants the timers any more.
type users struct {
	mu sync.Mutex
	of map[maps.Map]int
}

func hasTimer(mp maps.Map) bool {
	for _, f := range mp.Def().Special {
		if f.Kind == catalog.SpecialTimer {
			return true
		}
	}
	return false
}

// add counts one handle more, or with -1 less, and returns how many are left.
func (u *users) add(mp maps.Map, n int) int {
	u.mu.Lock()
	defer u.mu.Unlock()
	left := u.of[mp] + n
	if left == 0 {
		delete(u.of, mp)
	} else {
		if u.of == nil {
			u.of = map[maps.Map]int{}
		}
		u.of[mp] = left
	}
	return left
}

// ShareMap takes another handle on a map.
func (m *Machine) ShareMap(mp maps.Map) {
	mp.Acquire()
	if mp := maps.Unwrap(mp); hasTimer(mp) {
		m.users.add(mp, 1)
	}
}

// CloseMap gives a handle from NewMap or ShareMap back. With the last one the
// map's timers are cancelled for good (bpf_map_free_timers); the map itself
// lives on while programs use it.
func (m *Machine) CloseMap(mp maps.Map) {
	if inner := maps.Unwrap(mp); hasTimer(inner) && m.users.add(inner, -1) == 0 {
		m.timers.freeAll(inner)
	}
	mp.Close()
}
