//go:build linux && (amd64 || arm64)

package serve

import (
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/skep-bpf/skep/internal/bpfsys"
)

// A call about one element of a map takes the machine less time than each of the
// system calls that serving it needs. They are five: to receive, to read, to look the
// descriptor up, to write, to send.

// quick reports whether a call is about one element of a map.
func quick(n *notif) bool {
	if n.Nr != unix.SYS_BPF {
		return false
	}
	switch bpfsys.Cmd(n.Args[0]) {
	case bpfsys.MapLookupElem, bpfsys.MapUpdateElem, bpfsys.MapDeleteElem, bpfsys.MapGetNextKey, bpfsys.MapLookupAndDeleteElem:
		return true
	}
	return false
}

// glance is memory of a client that was read before it was asked for: the
// attribute, and what the last attribute pointed at, as programs give the same
// addresses again and again. It is good for one call; only loop uses it.
type glance struct {
	attr  span
	more  [2]span // a key, a value
	asked int     // how many of these have been
}

// span is a piece of a client's memory.
type span struct {
	addr uint64
	want int // bytes to be looked at
	n    int // and how many there are now
	data [256]byte
}

// holds returns the bytes at an address, or nil.
func (s *span) holds(addr uint64, n int) []byte {
	if addr < s.addr || n > s.n || addr-s.addr > uint64(s.n-n) {
		return nil
	}
	return s.data[addr-s.addr:][:n]
}

// look reads what the call will ask for. What cannot be read is left to when it is asked for.
func (g *glance) look(pid uint32, n *notif) {
	g.attr.addr, g.attr.want = n.Args[1], int(min(uint64(uint32(n.Args[2])), uint64(len(g.attr.data))))
	g.asked = 0
	var local [3]unix.Iovec
	var remote [3]unix.RemoteIovec
	count := 0
	for _, s := range []*span{&g.attr, &g.more[0], &g.more[1]} {
		if s.n = 0; s.want != 0 {
			local[count] = unix.Iovec{Base: &s.data[0], Len: uint64(s.want)}
			remote[count] = unix.RemoteIovec{Base: uintptr(s.addr), Len: s.want}
			count++
		}
	}
	r, _, e := unix.Syscall6(unix.SYS_PROCESS_VM_READV, uintptr(pid),
		uintptr(unsafe.Pointer(&local)), uintptr(count), uintptr(unsafe.Pointer(&remote)), uintptr(count), 0)
	if e != 0 {
		return
	}
	got := int(r) // whole pieces, and one may be cut
	for _, s := range []*span{&g.attr, &g.more[0], &g.more[1]} {
		if s.want > got {
			return
		}
		s.n = s.want
		got -= s.want
	}
}

// read copies memory that was looked at, and reports whether it was. If not, it is looked at next time.
func (g *glance) read(addr uint64, b []byte) bool {
	if src := g.attr.holds(addr, len(b)); src != nil {
		copy(b, src)
		return true
	}
	if g.asked == len(g.more) {
		return false
	}
	s := &g.more[g.asked]
	g.asked++
	if src := s.holds(addr, len(b)); src != nil {
		copy(b, src)
		return true
	}
	if s.n = 0; len(b) <= len(s.data) {
		s.addr, s.want = addr, len(b)
	}
	return false
}

// fdDirs are open /proc/PID/fd of the clients that called last: from there to a
// descriptor it is one step. A number that was given to another process is another directory,
// the old one is empty.
type fdDirs [8]struct {
	pid uint32
	fd  int // 0: none
}

// stat says what a descriptor of a client refers to.
func (d *fdDirs) stat(pid uint32, fd int32, st *unix.Stat_t) error {
	name := strconv.Itoa(int(fd))
	at := &d[pid%uint32(len(d))]
	if at.fd != 0 && at.pid == pid {
		if err := unix.Fstatat(at.fd, name, st, 0); err == nil {
			return nil
		}
	}
	path := "/proc/" + strconv.Itoa(int(pid)) + "/fd"
	if err := unix.Stat(path+"/"+name, st); err != nil {
		return err
	}
	if dir, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err == nil {
		d.drop(at.pid)
		at.pid, at.fd = pid, dir
	}
	return nil
}

// drop closes the directory of a client.
func (d *fdDirs) drop(pid uint32) {
	if at := &d[pid%uint32(len(d))]; at.fd != 0 && at.pid == pid {
		unix.Close(at.fd)
		at.fd = 0
	}
}

func (d *fdDirs) close() {
	for i := range d {
		d.drop(d[i].pid)
	}
}

// receives reports whether receiving a notification ends when the last client does (Linux 6.11).
func receives() bool {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return false
	}
	major, rest := leadingNumber(unix.ByteSliceToString(u.Release[:]))
	minor, _ := leadingNumber(rest)
	return major > 6 || major == 6 && minor >= 11
}

// leadingNumber splits "6.11.2" into 6 and "11.2".
func leadingNumber(s string) (n int, rest string) {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return n, s[i+1:]
		}
		n = n*10 + int(s[i]-'0')
	}
	return n, ""
}
