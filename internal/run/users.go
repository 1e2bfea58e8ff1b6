package run

import (
	"sync"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/maps"
)

// users counts the handles that user code holds on maps that keep programs
// (bpf_map.usercnt): by timers, or as a prog_array. The program may keep the map
// in turn: only the end of the last handle can tell that nobody outside wants either any more.
type users struct {
	mu sync.Mutex
	of map[maps.Map]int
}

func keepsPrograms(mp maps.Map) bool {
	if mp.Def().Type == catalog.MapProgArray {
		return true
	}
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
	if mp := maps.Unwrap(mp); keepsPrograms(mp) {
		m.users.add(mp, 1)
	}
}

// CloseMap gives a handle from NewMap or ShareMap back. With the last one the
// map's timers are cancelled for good (bpf_map_free_timers) and a prog_array is
// emptied (prog_array_map_clear); the map itself lives on while programs use it.
func (m *Machine) CloseMap(mp maps.Map) {
	if inner := maps.Unwrap(mp); keepsPrograms(inner) && m.users.add(inner, -1) == 0 {
		if jumps, ok := inner.(*maps.ProgArray); ok {
			jumps.Clear()
		}
		m.timers.freeAll(inner)
	}
	mp.Close()
}

// MapByID returns the map with an id, with a handle for the caller, or nil.
func (m *Machine) MapByID(id uint32) maps.Map {
	mp := m.Maps.Get(id)
	if mp != nil {
		m.ShareMap(mp)
		mp.Close() // Get's
	}
	return mp
}
