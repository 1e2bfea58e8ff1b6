//go:build linux && (amd64 || arm64)

package serve

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/skep-bpf/skep/internal/errno"
)

// closed are descriptors of clients that a program closed for them (bpf_sys_close). Nobody can take a descriptor away
// from another process, but put another file in its place: an empty one, which is no descriptor to bpf(2), and gives
// way to the next that the client is given.
type closed struct {
	mu   sync.Mutex
	fd   int                    // of that file
	file atomic.Pointer[fileID] // the same; nil: nothing was closed yet
	fds  map[int][]int32        // by process, the lowest first
}

// setFD has the kernel put a descriptor at a given number (SECCOMP_ADDFD_FLAG_SETFD).
const setFD = 1

// open makes the empty file.
func (h *closed) open() error {
	if h.file.Load() != nil {
		return nil
	}
	fd, err := unix.MemfdCreate("closed", unix.MFD_CLOEXEC)
	if err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return err
	}
	file := fileIDOf(&st)
	h.fd, h.fds = fd, map[int][]int32{}
	h.file.Store(&file)
	return nil
}

// is reports whether a file is the one that stands for none.
func (h *closed) is(st *unix.Stat_t) bool {
	file := h.file.Load()
	return file != nil && fileIDOf(st) == *file
}

func (h *closed) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.file.Load() != nil {
		unix.Close(h.fd)
	}
}

// Close closes a descriptor of the client's (bpfsys.Files).
func (c *client) Close(fd int32) errno.Errno {
	var st unix.Stat_t
	if fd < 0 || unix.Stat(fmt.Sprintf("/proc/%d/fd/%d", c.pid, fd), &st) != nil {
		return errno.EBADF
	}
	h := &c.s.holes
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.open(); err != nil {
		return number(err)
	}
	if h.is(&st) {
		return errno.EBADF
	}
	if a := c.addFD(&addfd{ID: c.id, Flags: setFD, Src: uint32(h.fd), NewFD: uint32(fd), NewFlags: unix.O_CLOEXEC}); a.err != 0 {
		return errno.Errno(a.err)
	}
	for pid := range h.fds {
		if unix.Kill(pid, 0) == unix.ESRCH {
			delete(h.fds, pid)
		}
	}
	pid := c.tgid()
	if i, there := slices.BinarySearch(h.fds[pid], fd); !there {
		h.fds[pid] = slices.Insert(h.fds[pid], i, fd)
	}
	return 0
}

// hole takes the number of the next descriptor that the client is given, if one that was closed
// for it is the lowest that is free.
func (c *client) hole() (fd uint32, ok bool) {
	h := &c.s.holes
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.fds) == 0 {
		return 0, false
	}
	pid := c.tgid()
	for len(h.fds[pid]) != 0 {
		at := h.fds[pid][0]
		var st unix.Stat_t
		for n := range at {
			if unix.Stat(fmt.Sprintf("/proc/%d/fd/%d", c.pid, n), &st) == unix.ENOENT {
				return 0, false
			}
		}
		if h.fds[pid] = h.fds[pid][1:]; len(h.fds[pid]) == 0 {
			delete(h.fds, pid)
		}
		if unix.Stat(fmt.Sprintf("/proc/%d/fd/%d", c.pid, at), &st) == nil && h.is(&st) {
			return uint32(at), true
		} // else the client has closed it by itself
	}
	return 0, false
}
