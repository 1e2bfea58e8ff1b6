//go:build linux && (amd64 || arm64)

package serve

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/skep-bpf/skep/internal/bpfsys"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/maps"
	"github.com/skep-bpf/skep/internal/pin"
)

// store is what was handed out: a client's descriptor of a BPF object is one of
// a memory file, known by its inode. The file of a map that can be mapped holds
// the map's memory; that of any other object is empty. inotify tells when the last descriptor is closed
// or mapping gone, whatever became of the process.
type store struct {
	inotify *os.File
	wfd     int
	reclaim func() // gives memory back that no program holds any more; or nil

	reading sync.Mutex // around the queue of events
	buf     [16 << 10]byte

	mu      sync.Mutex
	byIno   map[fileID]*handed
	byWD    map[int32]*handed
	closing map[int32]func()  // what is to be done when other files are closed, by their watch
	names   map[uint64]*named // pinned, by the inode of the file that stands for it
}

// fileID tells files apart.
type fileID struct{ dev, ino uint64 }

func fileIDOf(s *unix.Stat_t) fileID { return fileID{s.Dev, s.Ino} }

// handed is one memory file.
type handed struct {
	ino    fileID
	wd     int32
	file   *bpfsys.File
	shared *os.File // of a map's or perf buffer's memory, or of an AF_XDP socket: several descriptors may refer to it; else nil
}

// named is a pinned object.
type named struct {
	path   string
	wd     int32
	object pin.Object
}

func newStore() (*store, error) {
	wfd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("inotify: %w", err)
	}
	return &store{inotify: os.NewFile(uintptr(wfd), "inotify"), wfd: wfd,
		byIno: map[fileID]*handed{}, byWD: map[int32]*handed{}, closing: map[int32]func(){}, names: map[uint64]*named{}}, nil
}

// make returns a descriptor for the server to give away, of a file that stands
// for f and takes over its reference.
func (st *store) make(f *bpfsys.File) (int, errno.Errno) {
	switch m := f.Object().(type) {
	case *bpfsys.PerfEvent:
		return st.makeOf(f, m.File())
	case bpfsys.Map:
		if mm, ok := m.Map.(maps.Mapped); ok { // a view with restricted access is not
			return st.makeOf(f, mm.File())
		}
	}
	return st.makeOf(f, nil)
}

// makeOf is make of a file that there is already, if it is not nil.
func (st *store) makeOf(f *bpfsys.File, shared *os.File) (int, errno.Errno) {
	h := &handed{file: f, shared: shared}
	st.mu.Lock()
	defer st.mu.Unlock()
	fd, e := st.open(h)
	if e != 0 {
		st.put(f)
		return -1, e
	}
	if old := st.byIno[h.ino]; old != nil { // another descriptor of a map that is out already
		st.put(f)
		return fd, 0
	}
	wd, err := unix.InotifyAddWatch(st.wfd, procFD(fd), unix.IN_CLOSE_WRITE)
	if err != nil {
		unix.Close(fd)
		st.put(f)
		return -1, errno.ENOMEM
	}
	h.wd = int32(wd)
	st.byIno[h.ino], st.byWD[h.wd] = h, h
	return fd, 0
}

// open makes the memory file, or opens the map's once more.
func (st *store) open(h *handed) (int, errno.Errno) {
	src := -1
	if h.shared != nil {
		src = int(h.shared.Fd())
	} else {
		m, err := unix.MemfdCreate(h.file.Kind(), unix.MFD_CLOEXEC)
		if err != nil {
			return -1, number(err)
		}
		defer unix.Close(m)
		if it, ok := h.file.Object().(*bpfsys.Iter); ok {
			for text := it.Text(); len(text) != 0; {
				n, err := unix.Write(m, text)
				if err != nil {
					return -1, number(err)
				}
				text = text[n:]
			}
		}
		src = m
	}
	fd, err := unix.Open(procFD(src), unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, number(err)
	}
	if h.shared != nil { // its lock lives as long as the open file
		if err := unix.Flock(fd, unix.LOCK_SH); err != nil {
			unix.Close(fd)
			return -1, number(err)
		}
	}
	var s unix.Stat_t
	unix.Fstat(fd, &s)
	h.ino = fileIDOf(&s)
	return fd, 0
}

func procFD(fd int) string { return fmt.Sprintf("/proc/self/fd/%d", fd) }

func number(err error) errno.Errno {
	if e := unix.Errno(0); errors.As(err, &e) {
		return errno.Errno(e)
	}
	return errno.EINVAL
}

// find returns the file behind an inode, with a reference, or nil.
func (st *store) find(s *unix.Stat_t) *bpfsys.File {
	st.mu.Lock()
	defer st.mu.Unlock()
	h := st.byIno[fileIDOf(s)]
	if h == nil || !h.file.Get() {
		return nil
	}
	return h.file
}

// watch puts files back whose descriptors are closed, and names whose files are gone.
func (st *store) watch() {
	conn, err := st.inotify.SyscallConn()
	if err != nil {
		return
	}
	for conn.Read(func(uintptr) bool { st.settle(); return false }) == nil {
	}
}

// settle takes in what has happened. A close is known to the kernel's queue when
// close(2) returns: who settles before each call never sees an object that was closed before it.
func (st *store) settle() {
	st.reading.Lock()
	defer st.reading.Unlock()
	for {
		n, err := unix.Read(st.wfd, st.buf[:])
		if err != nil || n <= 0 {
			return
		}
		for b := st.buf[:n]; len(b) >= unix.SizeofInotifyEvent; {
			ev := (*unix.InotifyEvent)(unsafe.Pointer(&b[0]))
			b = b[unix.SizeofInotifyEvent+int(ev.Len):]
			st.event(ev.Wd, ev.Mask)
		}
	}
}

func (st *store) event(wd int32, mask uint32) {
	st.mu.Lock()
	h := st.byWD[wd]
	closing := st.closing[wd]
	delete(st.closing, wd)
	var gone *named
	if h == nil && mask&(unix.IN_ATTRIB|unix.IN_DELETE_SELF) != 0 {
		for ino, nm := range st.names {
			if nm.wd == wd && unlinked(nm.path, ino) {
				gone = nm
				delete(st.names, ino)
			}
		}
	}
	st.mu.Unlock()
	if closing != nil {
		unix.InotifyRmWatch(st.wfd, uint32(wd))
		closing()
	}
	if gone != nil {
		unix.InotifyRmWatch(st.wfd, uint32(wd))
		gone.object.Close()
	}
	if h != nil && mask&unix.IN_CLOSE_WRITE != 0 {
		st.closed(h, 0)
	}
}

// unlinked reports whether a name no longer leads to the file.
func unlinked(path string, ino uint64) bool {
	var s unix.Stat_t
	return unix.Lstat(path, &s) != nil || s.Ino != ino
}

// closed puts a file back if no descriptor of it is left. The kernel tells of a
// close before it lets the lock go, so a lock that is still held is looked at again a little later.
func (st *store) closed(h *handed, try int) {
	st.mu.Lock()
	if h.shared != nil && st.byIno[h.ino] == h {
		if err := unix.Flock(int(h.shared.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
			st.mu.Unlock()
			if try < 8 {
				time.AfterFunc(time.Millisecond<<try, func() { st.closed(h, try+1) })
			}
			return
		}
		unix.Flock(int(h.shared.Fd()), unix.LOCK_UN)
	}
	known := st.byIno[h.ino] == h
	if known {
		delete(st.byIno, h.ino)
		delete(st.byWD, h.wd)
		unix.InotifyRmWatch(st.wfd, uint32(h.wd))
	}
	st.mu.Unlock()
	if known {
		st.put(h.file)
	}
}

// put gives a reference back. What it was the last of goes at once if no program runs: memory that
// was mapped holds a descriptor, and who has none left waits for it.
func (st *store) put(f *bpfsys.File) {
	f.Put()
	if st.reclaim != nil {
		st.reclaim()
	}
}

// close puts everything back.
func (st *store) close() {
	st.inotify.Close()
	st.mu.Lock()
	defer st.mu.Unlock()
	for _, h := range st.byIno {
		h.file.Put()
	}
	for _, nm := range st.names {
		nm.object.Close()
	}
	st.byIno, st.names = nil, nil
}

// pin makes the file that stands for a name.
func (s *server) pin(path string, o pin.Object) errno.Errno {
	st := s.store
	fd, err := unix.Open(path, unix.O_CREAT|unix.O_EXCL|unix.O_RDWR|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return number(err)
	}
	defer unix.Close(fd)
	var sb unix.Stat_t
	unix.Fstat(fd, &sb)
	wd, err := unix.InotifyAddWatch(st.wfd, path, unix.IN_ATTRIB|unix.IN_DELETE_SELF)
	if err != nil {
		unix.Unlink(path)
		return errno.ENOMEM
	}
	o.Acquire()
	st.mu.Lock()
	defer st.mu.Unlock()
	st.names[sb.Ino] = &named{path: path, wd: int32(wd), object: o}
	return 0
}

// hasNames reports whether anything is pinned.
func (st *store) hasNames() bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	return len(st.names) != 0
}

// pinned returns the object behind a name.
func (s *server) pinned(path string) (pin.Object, errno.Errno) {
	var sb unix.Stat_t
	if err := unix.Stat(path, &sb); err != nil {
		return nil, number(err)
	}
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	nm := s.store.names[sb.Ino]
	if nm == nil {
		return nil, errno.EACCES
	}
	nm.object.Acquire()
	return nm.object, 0
}
