package bpfsys

import (
	"slices"
	"sync"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/run"
)

// place is something programs attach to: a device or control group, by attach type.
type place struct {
	kind   LinkType
	target uint64 // ifindex, or a number of the target's own
	attach catalog.AttachType
}

// entry is one program at a place, by a link or by PROG_ATTACH.
type entry struct {
	prog  *run.Program // of PROG_ATTACH: a reference
	link  *Link
	flags uint32
}

func (e *entry) program() *run.Program {
	if e.link == nil {
		e.prog.Acquire()
		return e.prog
	}
	return e.link.program()
}

// chain is what is attached to one place, in the order it would run.
type chain struct {
	entries  []*entry
	flags    uint32 // of a control group, which all its programs share
	revision uint64
}

// hooks is what is attached where.
type hooks struct {
	s  *System
	mu sync.Mutex
	at map[place]*chain
}

// remove takes the first entry away that matches, and reports whether there was one.
func (h *hooks) remove(at place, match func(*entry) bool) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.removeLocked(at, match)
}

// removeLocked is remove for who holds h.mu.
func (h *hooks) removeLocked(at place, match func(*entry) bool) bool {
	ch := h.at[at]
	if ch == nil {
		return false
	}
	i := slices.IndexFunc(ch.entries, match)
	if i < 0 {
		return false
	}
	gone := ch.entries[i]
	ch.entries = slices.Delete(ch.entries, i, i+1)
	if len(ch.entries) == 0 {
		ch.flags = 0
	}
	ch.revision++
	h.s.carryOut(at, ch) // with less than before nothing can be wrong
	if gone.prog != nil {
		gone.prog.Close()
	}
	return true
}

// clear ends everything that PROG_ATTACH began.
func (h *hooks) clear() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, ch := range h.at {
		for _, e := range ch.entries {
			if e.prog != nil {
				e.prog.Close()
			}
		}
	}
	h.at = map[place]*chain{}
}

// chainAt returns the chain of a place, which is made if need be. The caller holds h.mu.
func (h *hooks) chainAt(at place) *chain {
	ch := h.at[at]
	if ch == nil {
		ch = &chain{revision: 1}
		h.at[at] = ch
	}
	return ch
}
