//go:build linux && (amd64 || arm64)

package serve

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/skep-bpf/skep/internal/afxdp"
	"github.com/skep-bpf/skep/internal/bpfsys"
	"github.com/skep-bpf/skep/internal/errno"
)

// An AF_XDP socket of a client's is two files, which take turns as its descriptor:
//
//	until it is bound   a memory file, whose pages at the offsets of AF_XDP are the rings: the kernel maps them
//	from then on        a FIFO, which can be read while there is something in the rx ring: the kernel polls it
//
// The UMEM is the client's memory, which the server copies from and to.

// firstXSK is the lowest number a client gets for such a descriptor: the filter tells by it what to pick of calls that
// other sockets make all the time. With it select(2) still works.
const firstXSK = 768

// Other numbers of system calls.
const (
	addfdSetFD = 1 << 0 // SECCOMP_ADDFD_FLAG_SETFD

	soNetnsCookie = 71 // SO_NETNS_COOKIE
	populated     = unix.MAP_SHARED | unix.MAP_POPULATE
)

// xskOptions are options of SOL_SOCKET that programs set on AF_XDP sockets: how to poll a driver, of which there is none.
var xskOptions = []uint32{unix.SO_BUSY_POLL, unix.SO_PREFER_BUSY_POLL, unix.SO_BUSY_POLL_BUDGET}

// xskCalls are the system calls of AF_XDP sockets. What has no first condition of its own is told by the number.
func xskCalls() []watch {
	high := condition{arg: 0, value: firstXSK, least: true}
	calls := []watch{
		{nr: unix.SYS_SOCKET, on: []condition{{arg: 0, value: bpfsys.AFXDP}}, do: (*client).socket},
		{nr: unix.SYS_SETSOCKOPT, on: []condition{{arg: 1, value: bpfsys.SolXDP}}, do: (*client).setsockopt},
		{nr: unix.SYS_GETSOCKOPT, on: []condition{{arg: 1, value: bpfsys.SolXDP}}, do: (*client).getsockopt},
		{nr: unix.SYS_GETSOCKOPT, on: []condition{{arg: 1, value: unix.SOL_SOCKET}, {arg: 2, value: soNetnsCookie}, high}, do: (*client).getsockopt},
		{nr: unix.SYS_BIND, on: []condition{high}, do: (*client).xskBind},
		{nr: unix.SYS_SENDTO, on: []condition{high, {arg: 2, value: 0}}, do: (*client).xskSend},
		{nr: unix.SYS_RECVFROM, on: []condition{high, {arg: 2, value: 0}}, do: (*client).xskReceive},
		{nr: unix.SYS_MMAP, on: []condition{{arg: 3, value: populated}, {arg: 4, value: firstXSK, least: true}}, do: (*client).mmap},
	}
	for _, o := range xskOptions {
		calls = append(calls, watch{nr: unix.SYS_SETSOCKOPT, on: []condition{{arg: 1, value: unix.SOL_SOCKET}, {arg: 2, value: o}, high}, do: (*client).setsockopt})
	}
	return calls
}

// xsk is a socket with its files.
type xsk struct {
	*bpfsys.XSK
	memory *os.File
	fifo   *os.File
	signal int         // the FIFO once more, without blocking: clients can read and write there, too
	turned atomic.Bool // a descriptor was made that of the memory again

	mu      sync.Mutex
	written int  // bytes in the FIFO
	idle    bool // nobody has taken what the tx ring had when it was last looked at
	closed  bool
	timer   *time.Timer
}

// xsks are a server's AF_XDP sockets.
type xsks struct {
	mu     sync.Mutex
	all    map[*bpfsys.XSK]*xsk
	giving sync.Mutex // while a number is looked for
}

// How often the positions of rings are looked at: while a client has something to read, and for what it wants sent and
// does not say.
const (
	lookRX = time.Millisecond
	lookTX = 10 * time.Millisecond
)

// socket serves socket(2).
func (c *client) socket(n *notif) answer {
	typ := uint32(n.Args[1])
	if typ&^(0xf|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK) != 0 {
		return failed(unix.EINVAL)
	}
	c.s.store.settle()
	x := &xsk{signal: -1}
	who := c.caller()
	sock, e := c.s.sys.XSKOpen(&who, typ, uint32(n.Args[2]), x.ring, func() { c.s.xskGone(x) })
	if e != 0 {
		return failed(unix.Errno(e))
	}
	x.XSK = sock
	sock.Told = x.arrived
	if e := x.open(c.s.root); e != 0 {
		sock.Close()
		return failed(unix.Errno(e))
	}
	c.s.xsks.mu.Lock()
	c.s.xsks.all[sock] = x
	c.s.xsks.mu.Unlock()
	return c.installXSK(bpfsys.NewFile(sock), x.memory, -1, typ)
}

// open makes the files.
func (x *xsk) open(root string) errno.Errno {
	fd, err := unix.MemfdCreate("xsk", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return number(err)
	}
	x.memory = os.NewFile(uintptr(fd), "xsk")
	// Sealed, the file cannot lose the pages that the server writes to.
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK|unix.F_SEAL_SEAL); err != nil {
		return number(err)
	}
	name := filepath.Join(filepath.Dir(root), fmt.Sprintf("%s-xsk-%p", filepath.Base(root), x))
	if err := unix.Mkfifo(name, 0o600); err != nil {
		return number(err)
	}
	defer unix.Unlink(name)
	fifo, err := unix.Open(name, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return number(err)
	}
	x.fifo = os.NewFile(uintptr(fifo), "fifo")
	x.signal, err = unix.Open(name, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		x.signal = -1
		return number(err)
	}
	return 0
}

// ring is memory of a ring (afxdp.RingMemory): a part of the memory file.
func (x *xsk) ring(k afxdp.RingKind, size int) ([]byte, func(), error) {
	at := bpfsys.RingPage(k)
	size = (size + os.Getpagesize() - 1) &^ (os.Getpagesize() - 1)
	fd := int(x.memory.Fd())
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, nil, err
	}
	if end := at + int64(size); end > st.Size {
		if err := unix.Ftruncate(fd, end); err != nil {
			return nil, nil, err
		}
	}
	b, err := unix.Mmap(fd, at, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, nil, err
	}
	clear(b) // whatever the client has written there
	return b, func() { unix.Munmap(b) }, nil
}

// xskGone ends a socket's files.
func (s *server) xskGone(x *xsk) {
	s.xsks.mu.Lock()
	delete(s.xsks.all, x.XSK)
	s.xsks.mu.Unlock()
	x.mu.Lock()
	defer x.mu.Unlock()
	x.closed = true
	if x.timer != nil {
		x.timer.Stop()
	}
	for _, f := range []*os.File{x.memory, x.fifo} {
		if f != nil {
			f.Close()
		}
	}
	if x.signal >= 0 {
		unix.Close(x.signal)
	}
}

// xsk is the socket of a descriptor, with the file to put back; nil if it is none.
func (c *client) xsk(fd uint64) (*xsk, *bpfsys.File) {
	f, e := c.File(int32(fd))
	if e != 0 || f == nil {
		return nil, nil
	}
	if sock, ok := f.Object().(*bpfsys.XSK); ok {
		c.s.xsks.mu.Lock()
		x := c.s.xsks.all[sock]
		c.s.xsks.mu.Unlock()
		if x != nil {
			return x, f
		}
	}
	f.Put()
	return nil, nil
}

// installXSK gives the client a descriptor of one of the files of a socket, and takes over a reference: at a number of its own, or
// in the place of the one at a number. flags may have O_CLOEXEC and O_NONBLOCK.
func (c *client) installXSK(f *bpfsys.File, file *os.File, at int, flags uint32) answer {
	fd, e := c.s.store.makeOf(f, file)
	if e != 0 {
		return failed(unix.Errno(e))
	}
	defer unix.Close(fd)
	if flags&unix.O_NONBLOCK != 0 {
		unix.FcntlInt(uintptr(fd), unix.F_SETFL, unix.O_NONBLOCK)
	}
	a := addfd{ID: c.id, Src: uint32(fd), Flags: addfdSetFD, NewFlags: flags & unix.O_CLOEXEC}
	if at >= 0 {
		a.NewFD = uint32(at)
		return c.addFD(&a)
	}
	c.s.xsks.giving.Lock()
	defer c.s.xsks.giving.Unlock()
	for a.NewFD = firstXSK; unix.Faccessat(unix.AT_FDCWD, fmt.Sprintf("/proc/%d/fd/%d", c.pid, a.NewFD), unix.F_OK, unix.AT_SYMLINK_NOFOLLOW) == nil; a.NewFD++ {
	}
	defer c.room(a.NewFD)()
	return c.addFD(&a)
}

// room raises the client's soft limit of descriptors, if it has to be, until undo is called.
func (c *client) room(fd uint32) (undo func()) {
	var old unix.Rlimit
	pid := int(c.tgid())
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &old); err != nil || old.Cur > uint64(fd) {
		return func() {}
	}
	unix.Prlimit(pid, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: min(uint64(fd)+1, old.Max), Max: old.Max}, nil)
	return func() { unix.Prlimit(pid, unix.RLIMIT_NOFILE, &old, nil) }
}

func (c *client) addFD(a *addfd) answer {
	r, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(c.s.listener), ioAddFD, uintptr(unsafe.Pointer(a)))
	switch {
	case e == unix.EBADF: // past the limit
		return failed(unix.EMFILE)
	case e != 0:
		return failed(e)
	}
	return answer{val: int64(r)}
}

// turn makes a descriptor of a socket that of its memory, or the one that is polled.
func (c *client) turn(x *xsk, f *bpfsys.File, fd uint64, file *os.File) {
	var st, want unix.Stat_t
	name := fmt.Sprintf("/proc/%d/fd/%d", c.pid, int32(fd))
	if unix.Stat(name, &st) != nil || unix.Fstat(int(file.Fd()), &want) != nil || st.Ino == want.Ino && st.Dev == want.Dev || !f.Get() {
		return
	}
	c.installXSK(f, file, int(int32(fd)), c.flagsOf(fd))
}

// flagsOf are the flags of a descriptor of the client's and of its file.
func (c *client) flagsOf(fd uint64) uint32 {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/fdinfo/%d", c.pid, int32(fd)))
	for _, line := range strings.Split(string(b), "\n") {
		if v, ok := strings.CutPrefix(line, "flags:"); ok {
			n, _ := strconv.ParseUint(strings.TrimSpace(v), 8, 32)
			return uint32(n)
		}
	}
	return unix.O_CLOEXEC
}

// setsockopt serves options of AF_XDP, and tells of others.
func (c *client) setsockopt(n *notif) answer {
	level, opt := uint32(n.Args[1]), uint32(n.Args[2])
	if level != bpfsys.SolXDP && !(level == unix.SOL_SOCKET && slices.Contains(xskOptions, opt)) {
		return c.otherOption(n)
	}
	x, f := c.xsk(n.Args[0])
	if x == nil {
		return pass
	}
	defer f.Put()
	if level == unix.SOL_SOCKET {
		return answer{} // how to poll
	}
	who := c.caller()
	return failed(unix.Errno(x.Setsockopt(&who, opt, n.Args[3], int32(n.Args[4]), c.umem)))
}

func (c *client) getsockopt(n *notif) answer {
	x, f := c.xsk(n.Args[0])
	if x == nil {
		return pass
	}
	defer f.Put()
	who := c.caller()
	if uint32(n.Args[1]) == unix.SOL_SOCKET {
		cookie := c.s.sys.Machine().Net().NetnsCookie()
		var size uint32
		word := unsafe.Slice((*byte)(unsafe.Pointer(&size)), 4)
		switch {
		case !c.Read(n.Args[4], word):
			return failed(unix.EFAULT)
		case size < 8:
			return failed(unix.EINVAL)
		}
		size = 8
		if !c.Write(n.Args[3], unsafe.Slice((*byte)(unsafe.Pointer(&cookie)), 8)) || !c.Write(n.Args[4], word) {
			return failed(unix.EFAULT)
		}
		return answer{}
	}
	return failed(unix.Errno(x.Getsockopt(&who, uint32(n.Args[2]), n.Args[3], n.Args[4])))
}

// xskBind serves bind(2): the descriptor can be polled from then on.
func (c *client) xskBind(n *notif) answer {
	x, f := c.xsk(n.Args[0])
	if x == nil {
		return pass
	}
	defer f.Put()
	c.s.store.settle() // a socket that was closed has its queue no more
	who := c.caller()
	if e := x.BindTo(&who, n.Args[1], int32(n.Args[2])); e != 0 {
		return failed(unix.Errno(e))
	}
	c.turn(x, f, n.Args[0], x.fifo)
	x.arrived()
	return answer{}
}

func (c *client) xskSend(n *notif) answer {
	return c.kick(n, (*bpfsys.XSK).SendTo)
}

func (c *client) xskReceive(n *notif) answer {
	return c.kick(n, (*bpfsys.XSK).RecvFrom)
}

func (c *client) kick(n *notif, call func(*bpfsys.XSK, uint32) errno.Errno) answer {
	x, f := c.xsk(n.Args[0])
	if x == nil {
		return pass
	}
	defer f.Put()
	e := call(x.XSK, uint32(n.Args[3]))
	if e != errno.ENXIO && x.turned.Swap(false) { // it is bound
		c.turn(x, f, n.Args[0], x.fifo)
	}
	return failed(unix.Errno(e))
}

// xskMmap lets the kernel map a ring.
func (c *client) xskMmap(x *xsk, f *bpfsys.File, n *notif) answer {
	if e := x.Mmap(n.Args[5], n.Args[1]); e != 0 {
		return failed(unix.Errno(e))
	}
	c.turn(x, f, n.Args[4], x.memory)
	x.turned.Store(true) // until the next call
	return pass
}

// arrived makes the FIFO readable, anew even if it is: who waits for edges (EPOLLET) has one for each.
func (x *xsk) arrived() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.closed {
		return
	}
	if rx, _ := x.Pending(); rx {
		if x.written == maxWritten {
			x.drain()
		}
		x.write()
	}
	if x.timer == nil {
		x.timer = time.AfterFunc(lookTX, x.look)
	}
	if x.written > 0 {
		x.timer.Reset(lookRX)
	}
}

// maxWritten is how many bytes the FIFO holds at most, far from what it has room for.
const maxWritten = 1024

func (x *xsk) write() {
	unix.Write(x.signal, []byte{0})
	x.written++
}

// drain empties the FIFO.
func (x *xsk) drain() {
	var b [2 * maxWritten]byte
	unix.Read(x.signal, b[:])
	x.written = 0
}

// look is what the timer does. The client takes packets out of the rx ring and puts them into the tx ring without a word: when the
// former is empty there is nothing to read, and what waits in the latter for longer is sent, as poll(2) sends it on Linux.
func (x *xsk) look() {
	rx, tx := x.Pending()
	x.mu.Lock()
	send := tx && x.idle
	x.idle = tx
	x.mu.Unlock()
	if send {
		x.Send()
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.closed {
		return
	}
	if !rx && x.written > 0 {
		x.drain()
		if rx, _ = x.Pending(); rx { // it came between
			x.write()
		}
	}
	if x.written > 0 {
		x.timer.Reset(lookRX)
	} else {
		x.timer.Reset(lookTX)
	}
}

// umem opens memory of the client's, all of which is to be there and writable.
func (c *client) umem(addr, size uint64) (afxdp.Memory, errno.Errno) {
	switch n := c.writable(addr, size); {
	case n == 0:
		return nil, errno.EFAULT
	case n < size:
		return nil, errno.ENOMEM
	}
	// The file stays that of this memory when the process becomes another program.
	f, err := os.OpenFile(fmt.Sprintf("/proc/%d/mem", c.pid), os.O_RDWR, 0)
	if err != nil {
		return nil, number(err)
	}
	return &umem{f, addr, size}, 0
}

// writable returns how much of a client's memory is there, from its begin, and can be written.
func (c *client) writable(addr, size uint64) uint64 {
	f, err := os.Open(fmt.Sprintf("/proc/%d/maps", c.pid))
	if err != nil {
		return 0
	}
	defer f.Close()
	at, end := addr, addr+size
	for sc := bufio.NewScanner(f); at < end && sc.Scan(); {
		var lo, hi uint64
		var rights string
		if _, err := fmt.Sscanf(sc.Text(), "%x-%x %s", &lo, &hi, &rights); err != nil || hi <= at {
			continue
		}
		if lo > at || !strings.HasPrefix(rights, "rw") {
			break
		}
		at = hi
	}
	return min(at, end) - addr
}

// umem is memory of a client's (afxdp.Memory).
type umem struct {
	file *os.File
	addr uint64
	size uint64
}

func (u *umem) Size() uint64 { return u.size }
func (u *umem) Close()       { u.file.Close() }

func (u *umem) Read(off uint64, b []byte) bool {
	n, err := unix.Pread(int(u.file.Fd()), b, int64(u.addr+off))
	return err == nil && n == len(b)
}

func (u *umem) Write(off uint64, b []byte) bool {
	n, err := unix.Pwrite(int(u.file.Fd()), b, int64(u.addr+off))
	return err == nil && n == len(b)
}
