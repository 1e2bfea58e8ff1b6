//go:build linux

package bpfsys

import (
	"os"
	"sync"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/run"
)

// selfMemory is this process's own address space, read so that a bad address is no fault.
type selfMemory struct{}

func (selfMemory) Read(addr uint64, b []byte) bool {
	return vm(unix.SYS_PROCESS_VM_READV, addr, b)
}

func (selfMemory) Write(addr uint64, b []byte) bool {
	return vm(unix.SYS_PROCESS_VM_WRITEV, addr, b)
}

func vm(nr uintptr, addr uint64, b []byte) bool {
	if len(b) == 0 {
		return true
	}
	l := unix.Iovec{Base: &b[0]}
	l.SetLen(len(b))
	r := unix.RemoteIovec{Base: uintptr(addr), Len: len(b)}
	n, _, e := unix.Syscall6(nr, uintptr(unix.Getpid()), uintptr(unsafe.Pointer(&l)), 1, uintptr(unsafe.Pointer(&r)), 1, 0)
	return e == 0 && int(n) == len(b)
}

// table is a caller's descriptors; some are open and none of BPF's.
type table struct {
	mu    sync.Mutex
	files map[int32]*File
	next  int32
}

const otherFD = 2 // open, and not ours

func newTable() *table {
	t := &table{files: map[int32]*File{0: nil, 1: nil, otherFD: nil}, next: 1000}
	for i := range int32(cgroups) {
		t.files[cgroupFD+i] = nil
	}
	return t
}

func (t *table) File(fd int32) (*File, errno.Errno) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f, ok := t.files[fd]
	if !ok {
		return nil, errno.EBADF
	}
	if f != nil && !f.Get() {
		return nil, errno.EBADF
	}
	return f, 0
}

// Cgroup takes descriptor 100 for the root of all control groups, 101 for one below it, 102 for one below that.
func (t *table) Cgroup(fd int32) (path []uint64) {
	for n := fd; n >= cgroupFD && n < cgroupFD+cgroups; n-- {
		path = append(path, uint64(n))
	}
	return path
}

const (
	cgroupFD = 100
	cgroups  = 3
)

func (t *table) Install(f *File) (int32, errno.Errno) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.next++
	t.files[t.next] = f
	return t.next, 0
}

func (t *table) Close(fd int32) errno.Errno {
	t.mu.Lock()
	_, ok := t.files[fd]
	t.mu.Unlock()
	if !ok {
		return errno.EBADF
	}
	t.close(fd)
	return 0
}

func (t *table) close(fd int32) {
	t.mu.Lock()
	f := t.files[fd]
	delete(t.files, fd)
	t.mu.Unlock()
	if f != nil {
		f.Put()
	}
}

func (t *table) closeAll() {
	for fd := range t.files {
		t.close(fd)
	}
}

// kernelSpec is the running kernel's types, or nil.
var kernelSpec = sync.OnceValue(func() *btf.Spec {
	s, _ := btf.LoadKernelSpec()
	return s
})

// newSystem makes a system of one CPU for a test.
func newSystem(t testing.TB, o Options) *System {
	m, err := run.New(run.Options{CPUs: 2})
	if err != nil {
		t.Fatal(err)
	}
	if o.KernelBTF == nil {
		o.KernelBTF = kernelSpec
	}
	s := New(m, o)
	t.Cleanup(func() {
		s.Close()
		m.Close()
	})
	return s
}

// places are this process's, without perf events.
type places struct{}

func (places) Tracepoint(uint64) (string, bool) { return "", false }
func (places) UprobeType() uint32               { return 0 }

func (places) Regular(path string) (string, int64, errno.Errno) {
	st, err := os.Stat(path)
	switch {
	case err != nil:
		return "", 0, errno.ENOENT
	case !st.Mode().IsRegular():
		return "", 0, errno.EINVAL
	}
	return path, st.Size(), 0
}

func (places) Alive(pid int32) bool { return unix.Kill(int(pid), 0) == nil }

func (places) NetNS(fd int32) uint64 {
	if fd < 0 {
		return 1
	}
	return 0
}

func (places) FileOf(uint32, int32) (*File, errno.Errno) { return nil, errno.ENOENT }

func (places) Memory() (*os.File, errno.Errno) { return nil, errno.ENOMEM }
