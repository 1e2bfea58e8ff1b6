package afxdp

import (
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/skep-bpf/skep/internal/errno"
)

// Linux is an AF_XDP socket of the running kernel.
type Linux struct {
	fd      int
	poll    sync.Once // makes file, or closes fd
	file    *os.File  // for waiting
	stopped atomic.Bool
	entries [ringKinds]uint32
}

// NewLinux makes a socket in the calling thread's network namespace. It needs CAP_NET_RAW.
func NewLinux() (*Linux, error) {
	fd, err := unix.Socket(unix.AF_XDP, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	return &Linux{fd: fd}, nil
}

// FD is the descriptor.
func (l *Linux) FD() uint32 { return uint32(l.fd) }

// number makes an Errno of what a system call returned.
func number(err error) error {
	var e syscall.Errno
	if errors.As(err, &e) {
		return errno.Errno(e)
	}
	return err
}

func (l *Linux) setsockopt(opt int, v unsafe.Pointer, size uintptr) error {
	if _, _, e := unix.Syscall6(unix.SYS_SETSOCKOPT, uintptr(l.fd), unix.SOL_XDP, uintptr(opt), uintptr(v), size, 0); e != 0 {
		return number(e)
	}
	return nil
}

func (l *Linux) getsockopt(opt int, v unsafe.Pointer, size uint32) error {
	if _, _, e := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(l.fd), unix.SOL_XDP, uintptr(opt), uintptr(v), uintptr(unsafe.Pointer(&size)), 0); e != 0 {
		return number(e)
	}
	return nil
}

// Register pins the area's pages in memory.
func (l *Linux) Register(area *Area, r Reg) error {
	reg := struct {
		addr, size                            uint64
		chunk, headroom, flags, txMetadataLen uint32
	}{uint64(uintptr(unsafe.Pointer(unsafe.SliceData(area.Bytes())))), uint64(len(area.Bytes())), r.ChunkSize, r.Headroom, r.Flags, r.TxMetadataLen}
	return l.setsockopt(unix.XDP_UMEM_REG, unsafe.Pointer(&reg), unsafe.Sizeof(reg))
}

// options and page offsets of the rings.
var (
	ringOption = [...]int{RX: unix.XDP_RX_RING, TX: unix.XDP_TX_RING, Fill: unix.XDP_UMEM_FILL_RING, Completion: unix.XDP_UMEM_COMPLETION_RING}
	ringPage   = [...]int64{RX: unix.XDP_PGOFF_RX_RING, TX: unix.XDP_PGOFF_TX_RING, Fill: unix.XDP_UMEM_PGOFF_FILL_RING, Completion: unix.XDP_UMEM_PGOFF_COMPLETION_RING}
)

// MakeRing makes a ring.
func (l *Linux) MakeRing(k RingKind, entries uint32) error {
	err := l.setsockopt(ringOption[k], unsafe.Pointer(&entries), 4)
	if err == nil {
		l.entries[k] = entries
	}
	return err
}

// MapRing maps a ring this socket has made.
func (l *Linux) MapRing(k RingKind) (*Ring, error) {
	at, err := l.Offsets()
	if err != nil {
		return nil, err
	}
	n := max(l.entries[k], 1)
	memory, err := unix.Mmap(l.fd, ringPage[k], ringSize(at[k], k, n), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE)
	if err != nil {
		return nil, number(err)
	}
	r := newRing(memory, at[k], n)
	r.unmap = func() { unix.Munmap(memory) }
	return r, nil
}

// Offsets asks where the parts of rings lie.
func (l *Linux) Offsets() ([ringKinds]RingOffsets, error) {
	var o [ringKinds]RingOffsets // as struct xdp_mmap_offsets
	err := l.getsockopt(unix.XDP_MMAP_OFFSETS, unsafe.Pointer(&o), uint32(unsafe.Sizeof(o)))
	return o, err
}

// Bind binds the socket to a queue of an interface.
func (l *Linux) Bind(to Addr) error {
	ifindex, _ := to.Device.(int)
	addr := struct {
		family, flags         uint16
		ifindex, queue, umemf uint32
	}{unix.AF_XDP, to.Flags, uint32(ifindex), to.Queue, 0}
	if to.Shared != nil {
		addr.umemf = to.Shared.FD()
	}
	if _, _, e := unix.Syscall(unix.SYS_BIND, uintptr(l.fd), uintptr(unsafe.Pointer(&addr)), unsafe.Sizeof(addr)); e != 0 {
		return number(e)
	}
	return nil
}

// Send calls sendto without data.
func (l *Linux) Send() error {
	if _, _, e := unix.Syscall6(unix.SYS_SENDTO, uintptr(l.fd), 0, 0, unix.MSG_DONTWAIT, 0, 0); e != 0 {
		return errno.Errno(e)
	}
	return nil
}

// Recv calls recvfrom without a buffer.
func (l *Linux) Recv() error {
	if _, _, e := unix.Syscall6(unix.SYS_RECVFROM, uintptr(l.fd), 0, 0, unix.MSG_DONTWAIT, 0, 0); e != 0 {
		return errno.Errno(e)
	}
	return nil
}

// Statistics asks for the socket's counters.
func (l *Linux) Statistics() (Statistics, error) {
	var s Statistics // as struct xdp_statistics
	err := l.getsockopt(unix.XDP_STATISTICS, unsafe.Pointer(&s), uint32(unsafe.Sizeof(s)))
	return s, err
}

// Options asks for the socket's options.
func (l *Linux) Options() (uint32, error) {
	var o uint32
	err := l.getsockopt(unix.XDP_OPTIONS, unsafe.Pointer(&o), 4)
	return o, err
}

// waiting returns the socket for waiting. It is made when somebody waits: the
// runtime polls it from then on, and polling sends what is in the tx ring.
func (l *Linux) waiting() *os.File {
	l.poll.Do(func() { l.file = os.NewFile(uintptr(l.fd), "xsk") })
	return l.file // nil, which methods take for closed, after Close
}

// Wait waits until the kernel says that packets have come.
func (l *Linux) Wait(ready func() bool) error {
	if l.stopped.Load() {
		return os.ErrClosed
	}
	if ready() {
		return nil
	}
	raw, err := l.waiting().SyscallConn()
	if err == nil {
		err = raw.Read(func(uintptr) bool { return ready() })
	}
	switch {
	case err == nil || !l.stopped.Load() && ready(): // a deadline that is past ends waiting, not reading
		return nil
	case errors.Is(err, os.ErrDeadlineExceeded) && !l.stopped.Load():
		return os.ErrDeadlineExceeded
	}
	return os.ErrClosed
}

// SetDeadline is until when Wait waits.
func (l *Linux) SetDeadline(t time.Time) error {
	err := l.waiting().SetReadDeadline(t)
	if l.stopped.Load() {
		l.Stop() // it came between
	}
	return err
}

// Stop ends all waiting.
func (l *Linux) Stop() {
	l.stopped.Store(true)
	l.waiting().SetReadDeadline(time.Unix(1, 0))
}

// Close closes the descriptor. Mapped rings stay until they are unmapped.
func (l *Linux) Close() error {
	fresh := false
	l.poll.Do(func() { fresh = true })
	if fresh {
		return unix.Close(l.fd)
	}
	if l.file == nil {
		return nil // closed already
	}
	return l.file.Close()
}
