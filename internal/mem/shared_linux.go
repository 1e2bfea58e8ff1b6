package mem

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Shared is a file in memory that several processes map. Its size never
// changes: that is sealed before anybody maps it, so that no process can take memory from under another.
type Shared struct {
	file   *os.File // of an open file description that this process alone has
	size   int64
	sealed bool
}

// ErrNotShared says that a file is not one that [NewShared] or [NewSealed] made.
var ErrNotShared = errors.New("not a file of shared memory")

// NewShared makes a file of size zeroed bytes, a multiple of the page size.
func NewShared(size int64) (*Shared, error) {
	fd, err := unix.MemfdCreate("bpf-map", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, fmt.Errorf("mem: shared file: %w", err)
	}
	s := &Shared{file: os.NewFile(uintptr(fd), "bpf-map"), size: size}
	if err := unix.Ftruncate(fd, size); err != nil {
		s.Close()
		return nil, fmt.Errorf("mem: shared file of %d bytes: %w", size, err)
	}
	keepSize(fd)
	return s, nil
}

// NewSealed makes a file of the given content, which nobody can ever change.
func NewSealed(content []byte) (*Shared, error) {
	s, err := NewShared(int64(len(content)))
	if err != nil {
		return nil, err
	}
	if _, err := s.file.WriteAt(content, 0); err != nil {
		s.Close()
		return nil, fmt.Errorf("mem: sealed file: %w", err)
	}
	if _, err := unix.FcntlInt(s.file.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_WRITE|unix.F_SEAL_SEAL); err != nil {
		s.Close()
		return nil, fmt.Errorf("mem: sealed file: %w", err)
	}
	s.sealed = true
	return s, nil
}

// OpenShared opens a file another process made; f stays the caller's.
func OpenShared(f *os.File) (*Shared, error) {
	const keep = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW
	seals, err := unix.FcntlInt(f.Fd(), unix.F_GET_SEALS, 0)
	if err != nil || seals&keep != keep {
		return nil, ErrNotShared
	}
	own, err := reopen(f)
	if err != nil {
		return nil, err
	}
	info, err := own.Stat()
	if err != nil {
		own.Close()
		return nil, err
	}
	return &Shared{file: own, size: info.Size(), sealed: seals&unix.F_SEAL_WRITE != 0}, nil
}

// reopen makes another open file description of a file, with locks of its own.
func reopen(f *os.File) (*os.File, error) {
	path := fmt.Sprintf("/proc/self/fd/%d", f.Fd())
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("shared memory is opened by way of /proc: open %s: %w", path, err)
	}
	return os.NewFile(uintptr(fd), "bpf-map"), nil
}

// Hand returns the file for another process; the caller closes it.
func (s *Shared) Hand() (*os.File, error) { return reopen(s.file) }

// Size is the file's, in bytes.
func (s *Shared) Size() int64 { return s.size }

// Sealed reports whether nobody can change the content.
func (s *Shared) Sealed() bool { return s.sealed }

// Close gives the file back. What was mapped stays.
func (s *Shared) Close() { s.file.Close() }

// ReadAt reads from the file.
func (s *Shared) ReadAt(b []byte, off int64) (int, error) { return s.file.ReadAt(b, off) }

// access is how the file is mapped. What nobody can change may be mapped privately, and has to be before Linux 6.7.
func (s *Shared) access() (prot, flags int) {
	if s.sealed {
		return unix.PROT_READ, unix.MAP_PRIVATE
	}
	return unix.PROT_READ | unix.PROT_WRITE, unix.MAP_SHARED
}

// Map maps n bytes of the file from off on, a multiple of the page size.
func (s *Shared) Map(off int64, n int) (*Block, error) {
	if n <= 0 || off < 0 || off+int64(n) > s.size || off+int64(n) < off {
		return nil, fmt.Errorf("mem: %d bytes from %d on, in a file of %d", n, off, s.size)
	}
	page := os.Getpagesize()
	prot, flags := s.access()
	raw, err := unix.Mmap(int(s.file.Fd()), off, (n+page-1)&^(page-1), prot, flags)
	if err != nil {
		return nil, fmt.Errorf("mem: %d bytes of a shared file: %w", n, err)
	}
	return register(&Block{addr: uint64(uintptr(unsafe.Pointer(&raw[0]))), data: raw[:n], raw: raw}), nil
}

// MapRing maps the file as [AllocMirrored] lays a ring out: private bytes of this
// process's own, then from off on in the file the rest of the head and the data, and the data once more.
//
//	block │ private │ head │ data │ data again │
//	file         … │ head │ data │
func (s *Shared) MapRing(private int, off int64, head, size int) (*Block, error) {
	if off < 0 || head < 0 || size <= 0 || off+int64(head)+int64(size) > s.size {
		return nil, fmt.Errorf("mem: a ring of %d bytes from %d on, in a file of %d", size, off, s.size)
	}
	raw, err := unix.Mmap(-1, 0, private+head+2*size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE|noReserve)
	if err != nil {
		return nil, fmt.Errorf("mem: a ring of %d bytes: %w", size, err)
	}
	prot, flags := s.access()
	for _, part := range []struct {
		at  int
		off int64
		n   int
	}{{private, off, head + size}, {private + head + size, off + int64(head), size}} {
		// MAP_FIXED replaces pages of the mapping above, which nobody uses yet.
		if _, err := unix.MmapPtr(int(s.file.Fd()), part.off, unsafe.Pointer(&raw[part.at]), uintptr(part.n),
			prot, flags|unix.MAP_FIXED); err != nil {
			unix.Munmap(raw)
			return nil, fmt.Errorf("mem: a ring of %d bytes: %w", size, err)
		}
	}
	return register(&Block{addr: uint64(uintptr(unsafe.Pointer(&raw[0]))), data: raw, raw: raw}), nil
}

// seatsAt is where in the file seats are locked: far behind its end, where no bytes are.
const seatsAt = 1 << 40

// TakeSeat takes one of n seats that no living process holds, until Close or the end of the process. A
// seat is a locked byte: the system gives it up for who is killed, and no number is ever mistaken for another's.
func (s *Shared) TakeSeat(n int) (int, error) {
	for i := range n {
		l := unix.Flock_t{Type: unix.F_WRLCK, Start: seatsAt + int64(i), Len: 1}
		switch err := unix.FcntlFlock(s.file.Fd(), unix.F_OFD_SETLK, &l); {
		case err == nil:
			return i, nil
		case !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EACCES):
			return 0, fmt.Errorf("mem: seat in shared memory: %w", err)
		}
	}
	return 0, fmt.Errorf("%d processes have it already", n)
}

// Seated reports whether somebody else holds a seat.
func (s *Shared) Seated(i int) bool {
	l := unix.Flock_t{Type: unix.F_WRLCK, Start: seatsAt + int64(i), Len: 1}
	return unix.FcntlFlock(s.file.Fd(), unix.F_OFD_GETLK, &l) != nil || l.Type != unix.F_UNLCK
}

// Operations of futex(2) on words that several processes map.
const (
	futexWait = 0
	futexWake = 1
)

// WaitWord sleeps while the word, in shared memory, is old, at most for d. It may return sooner.
func WaitWord(word *uint32, old uint32, d time.Duration) {
	if atomic.LoadUint32(word) != old {
		return
	}
	ts := unix.NsecToTimespec(int64(d))
	unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(word)), futexWait, uintptr(old), uintptr(unsafe.Pointer(&ts)), 0, 0)
}

// WakeWord wakes those of all processes who sleep in [WaitWord].
func WakeWord(word *uint32) {
	unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(word)), futexWake, 1<<31-1, 0, 0, 0)
}
