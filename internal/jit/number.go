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
	free []uint64                   // numbers of programs that are gone
	list atomic.Pointer[[]*Program] // by number; never changed, only replaced
}

// enlist gives p its number and the [code.Target] by which it is called.
func (p *Program) enlist() error {
	addr, err := targets.Get()
	if err != nil {
		return err
	}
	programs.mu.Lock()
	defer programs.mu.Unlock()
	list := []*Program{nil} // no program is number 0
	if old := programs.list.Load(); old != nil {
		list = append(list[:0], *old...)
	}
	if n := len(programs.free); n != 0 {
		p.number = programs.free[n-1]
		programs.free = programs.free[:n-1]
		list[p.number] = p
	} else {
		p.number = uint64(len(list))
		list = append(list, p)
	}
	programs.list.Store(&list)
	p.target = addr
	// Sound: an element of targets is aligned, has that size and lives until delist.
	*(*code.Target)(mem.Ptr(addr)) = code.Target{Entry: p.main, Number: p.number, Length: uint64(p.length)}
	return nil
}

// delist takes the number back.
func (p *Program) delist() {
	programs.mu.Lock()
	list := append([]*Program(nil), *programs.list.Load()...)
	list[p.number] = nil
	programs.list.Store(&list)
	programs.free = append(programs.free, p.number)
	programs.mu.Unlock()
	targets.Put(p.target)
}

// targets is where the programs' targets lie.
var targets = mem.NewSlab(int(unsafe.Sizeof(code.Target{})), 128)

// byNumber returns the program that native code says is running.
func byNumber(n uint64) *Program { return (*programs.list.Load())[n] }

// Target is the address of what a tail call needs to know of p, a [code.Target].
func (p *Program) Target() uint64 { return p.target }
