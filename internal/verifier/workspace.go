package verifier

import (
	"slices"
	"sync"
)

// workspace is memory that verifications use one after the other. Nothing in a
// Result, Error, Trace or History lies in it.
type workspace struct {
	pool     pool
	aux      []insnAux
	explored [][]*state
	ints     []int32
	marks    []uint8
}

var workspaces = sync.Pool{New: func() any { return new(workspace) }}

// maxKeptFrames bounds the frames a workspace keeps, of 1.4 KiB and their stacks,
// maxKeptSlots the program whose tables it keeps.
const (
	maxKeptFrames = 4096
	maxKeptSlots  = 1 << 16
)

// takeWorkspace gives the verification its memory, for which done is to be called.
func (e *env) takeWorkspace() {
	e.ws = workspaces.Get().(*workspace)
	e.pool = e.ws.pool
	e.pool.bytes = 0
	n := len(e.insns)
	e.aux = zeroed(&e.ws.aux, n)
	e.explored = slices.Grow(e.ws.explored[:0], n)[:n]
}

// done gives the memory back; nothing of the verification's states may be looked at after it.
func (e *env) done() {
	ws := e.ws
	if ws == nil {
		return
	}
	e.ws = nil
	if len(e.insns) > maxKeptSlots {
		return
	}
	for i, list := range e.explored {
		for _, st := range list {
			if len(e.pool.frames) < maxKeptFrames {
				e.freeState(st)
			}
		}
		clear(list)
		e.explored[i] = list[:0]
	}
	e.pool.reuseHist()
	if len(e.pool.frames) >= maxKeptFrames {
		e.pool = pool{}
	}
	ws.pool, ws.aux, ws.explored = e.pool, e.aux, e.explored
	e.aux, e.explored, e.pool = nil, nil, pool{}
	workspaces.Put(ws)
}

// zeroed makes of *s a slice of n zero elements, of the memory it has if that is enough.
func zeroed[T any](s *[]T, n int) []T {
	if cap(*s) < n {
		*s = make([]T, n)
		return *s
	}
	*s = (*s)[:n]
	clear(*s)
	return *s
}
