package jit

import (
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/skep-bpf/skep/internal/jit/code"
	"github.com/skep-bpf/skep/internal/mem"
)

// Native code knows programs by their numbers, as it can hold no Go pointer: after
// a tail call that it made by itself it tells Go whose code runs.
var programs struct {
	mu   sync.Mutex
	last uint64
	free []uint64                   // numbers of programs that are gone
	list atomic.Pointer[[]*Program] // those that can be called, by number; never changed, only replaced
}

// targets is where the programs' targets lie.
var targets = mem.NewSlab(int(unsafe.Sizeof(code.Target{})), 128)

// enlist gives p its number and the [code.Target] by which it is called.
func (p *Program) enlist() error {
	addr, err := targets.Get()
	if err != nil {
		return err
	}
	programs.mu.Lock()
	defer programs.mu.Unlock()
	if n := len(programs.free); n != 0 {
		p.number = programs.free[n-1]
		programs.free = programs.free[:n-1]
	} else {
		programs.last++ // no program is number 0
		p.number = programs.last
	}
	p.target = addr
	// Sound: an element of targets is aligned, has that size and lives until delist.
	*(*code.Target)(mem.Ptr(addr)) = code.Target{Entry: p.main, Number: p.number, Length: uint64(p.length)}
	if p.jumps && len(p.Subprogs) > 1 { // programs it calls by tail in a function may return to it
		p.listed = true
		replace(p.number, p)
	}
	return nil
}

// Target is the address of what a tail call needs to know of p, a [code.Target].
// Who asks for it is about to make p one that can be called.
func (p *Program) Target() uint64 {
	programs.mu.Lock()
	defer programs.mu.Unlock()
	if !p.listed {
		p.listed = true
		replace(p.number, p)
	}
	return p.target
}

// delist takes number and target back.
func (p *Program) delist() {
	programs.mu.Lock()
	if p.listed {
		replace(p.number, nil)
	}
	programs.free = append(programs.free, p.number)
	programs.mu.Unlock()
	targets.Put(p.target)
}

// replace puts p, or nil, into a new list, under the lock.
func replace(number uint64, p *Program) {
	list := make([]*Program, programs.last+1)
	if old := programs.list.Load(); old != nil {
		copy(list, *old)
	}
	list[number] = p
	programs.list.Store(&list)
}

// byNumber returns the program that native code says is running.
func byNumber(n uint64) *Program { return (*programs.list.Load())[n] }
