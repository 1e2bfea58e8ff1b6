//go:build amd64 || arm64

package exec

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Text is installed code: readable and executable, never writable.
type Text struct {
	addr uint64
	size int
	from *region
	off  int // in the region

	own []byte // memory of its own, else nil
}

// Addr is the address of the first instruction.
func (t *Text) Addr() uint64 { return t.addr }

// region is a piece of shared memory that holds the code of several programs.
// Its one lasting mapping is executable; where code is written, a writable one
// of the pages concerned exists for as long as that takes. All that is no
// program's is filled with an instruction that traps.
//
//	│ trap │ program │ trap │ program │ trap …            │
//	       ▲ at random      ▲ after a random gap
type region struct {
	fd   int    // of the memory, -1 where there is none
	code []byte // readable, executable
	free []span // sorted
}

type span struct{ off, size int }

// Sizes in bytes. Programs begin at codeAlign, up to maxGap behind the last one.
const (
	regionSize = 512 << 10
	codeAlign  = 64
	maxGap     = 1024
)

// regions are all there are. They are shared by all machines of the process.
var regions struct {
	sync.Mutex
	list []*region
}

// allowed tries once whether executable memory is to be had.
var allowed = sync.OnceValue(func() error {
	t, err := Install(trap[:])
	if err != nil {
		return err
	}
	t.Free()
	return nil
})

// Install copies code into executable memory.
func Install(code []byte) (*Text, error) {
	regions.Lock()
	defer regions.Unlock()
	need := len(code) + maxGap + codeAlign
	for _, r := range regions.list {
		if t, err := r.install(code, need); t != nil || err != nil {
			return t, err
		}
	}
	r, err := newRegion(max(regionSize, need))
	if err != nil {
		return nil, fmt.Errorf("executable memory: %w", errors.Join(err, errors.ErrUnsupported))
	}
	regions.list = append(regions.list, r)
	return r.install(code, need)
}

func newRegion(size int) (*region, error) {
	size = (size + os.Getpagesize() - 1) &^ (os.Getpagesize() - 1)
	fd, err := unix.MemfdCreate("skep-text", unix.MFD_CLOEXEC|unix.MFD_EXEC)
	if errors.Is(err, unix.EINVAL) { // a kernel that does not know MFD_EXEC
		fd, err = unix.MemfdCreate("skep-text", unix.MFD_CLOEXEC)
	}
	if err != nil {
		return nil, err
	}
	r := &region{fd: fd, free: []span{{0, size}}}
	if err = unix.Ftruncate(fd, int64(size)); err == nil {
		r.code, err = unix.Mmap(fd, 0, size, unix.PROT_READ|unix.PROT_EXEC, unix.MAP_SHARED)
	}
	if err == nil {
		err = r.write(span{0, size}, nil)
	}
	if err != nil {
		r.close()
		return nil, err
	}
	return r, nil
}

func (r *region) close() {
	if r.code != nil {
		unix.Munmap(r.code)
	}
	unix.Close(r.fd)
}

// write puts code at the beginning of at and traps into the rest, through a
// writable mapping that is gone when it returns. Then every processor sees it.
func (r *region) write(at span, code []byte) error {
	if err := r.fill(at, code); err != nil {
		return err
	}
	return r.settle(at)
}

// fill is write before anybody executes what was written.
func (r *region) fill(at span, code []byte) error {
	page := os.Getpagesize()
	lo := at.off &^ (page - 1)
	hi := (at.off + at.size + page - 1) &^ (page - 1)
	w, err := unix.Mmap(r.fd, int64(lo), hi-lo, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	to := w[at.off-lo:][:at.size]
	for i := copy(to, code); i < len(to); i++ {
		to[i] = trap[i%len(trap)]
	}
	return unix.Munmap(w)
}

// install puts code into the first gap that has room for it; nil if there is none.
func (r *region) install(code []byte, need int) (*Text, error) {
	for i := range r.free {
		f := &r.free[i]
		if f.size < need {
			continue
		}
		gap := rand.IntN(maxGap) &^ (codeAlign - 1)
		off := (f.off+codeAlign-1)&^(codeAlign-1) + gap
		size := (len(code) + codeAlign - 1) &^ (codeAlign - 1)
		if err := r.write(span{off, size}, code); err != nil {
			return nil, fmt.Errorf("executable memory: %w", err)
		}
		t := &Text{from: r, off: f.off, size: off + size - f.off, addr: uint64(uintptr(unsafe.Pointer(&r.code[off])))}
		f.off, f.size = off+size, f.off+f.size-off-size
		return t, nil
	}
	return nil, nil
}

// Free fills the code with traps and gives the memory back. Nobody may be inside
// it any more.
func (t *Text) Free() {
	regions.Lock()
	defer regions.Unlock()
	if t.own != nil {
		unix.Munmap(t.own)
		t.own = nil
	}
	r, s := t.from, span{t.off, t.size}
	if r == nil {
		return
	}
	t.from = nil
	if r.write(s, nil) != nil {
		return // out of mappings: the code stays, and its place with it
	}
	i, _ := slices.BinarySearchFunc(r.free, s, func(a, b span) int { return a.off - b.off })
	r.free = slices.Insert(r.free, i, s)
	r.join(i)
	r.join(i - 1)
	if r.free[0].size == len(r.code) && len(regions.list) > 1 {
		r.close()
		regions.list = slices.DeleteFunc(regions.list, func(o *region) bool { return o == r })
	}
}

// join makes one of the gaps i and i+1 if they touch.
func (r *region) join(i int) {
	if i < 0 || i+1 >= len(r.free) || r.free[i].off+r.free[i].size != r.free[i+1].off {
		return
	}
	r.free[i].size += r.free[i+1].size
	r.free = slices.Delete(r.free, i+1, i+2)
}
