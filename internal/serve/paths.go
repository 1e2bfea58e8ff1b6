//go:build linux && (amd64 || arm64)

package serve

import (
	"bytes"
	"fmt"
	"os"
	"path"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/skep-bpf/skep/internal/bpfsys"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/pin"
)

// The client's BPF file system is a private directory of the server's: paths
// below /sys/fs/bpf are carried out there by the server, descriptors of
// directories in it are real, so that calls relative to them need nobody. A pinned object is an
// empty file; who removes the file removes the name.
//
//	client: mkdirat("/sys/fs/bpf/a")  →  server: mkdirat(root + "/a")
//	client: OBJ_PIN "/sys/fs/bpf/a/b" →  server: creates root + "/a/b", watches it

// pathCall is a system call with a path in it.
type pathCall struct {
	nr      uint32
	dir     int     // argument with the directory's descriptor, -1: none; the path is the next
	to      int     // argument with a second path, 0: none
	out     int     // argument with a buffer that is filled, 0: none
	size    uintptr // of the buffer, in bytes
	opens   bool    // the result is a descriptor
	makes   bool    // it makes a directory
	removes bool    // it removes one, or a file
	fs      bool    // the buffer is a struct statfs
	links   bool    // the first argument is what a symbolic link says
}

const (
	sizeofStat   = unsafe.Sizeof(unix.Stat_t{})
	sizeofStatx  = unsafe.Sizeof(unix.Statx_t{})
	sizeofStatfs = unsafe.Sizeof(unix.Statfs_t{})
)

var pathRows = append([]pathCall{
	{nr: unix.SYS_STATFS, dir: -1, out: 1, size: sizeofStatfs, fs: true},
	{nr: sysNewfstatat, dir: 0, out: 2, size: sizeofStat},
	{nr: unix.SYS_STATX, dir: 0, out: 4, size: sizeofStatx},
	{nr: unix.SYS_FACCESSAT, dir: 0},
	{nr: unix.SYS_FACCESSAT2, dir: 0},
	{nr: unix.SYS_FCHMODAT, dir: 0},
	{nr: unix.SYS_MKDIRAT, dir: 0, makes: true},
	{nr: unix.SYS_UNLINKAT, dir: 0, removes: true},
	{nr: unix.SYS_RENAMEAT, dir: 0, to: 3},
	{nr: sysRenameat2, dir: 0, to: 3},
	symlinkRow,
}, olderPathCalls...)

var symlinkRow = pathCall{nr: unix.SYS_SYMLINKAT, dir: 1, links: true}

// arg is the number of the argument with the path.
func (r *pathCall) arg() int { return r.dir + 1 }

// removesDir reports whether the call removes a directory, if its path is one.
func (r *pathCall) removesDir(args *[6]uint64) bool {
	return r.removes && (r.dir < 0 || args[2]&unix.AT_REMOVEDIR != 0)
}

// pathCall carries a call out for the client where its path leads into its BPF file system.
func (c *client) pathCall(row *pathCall, n *notif) answer {
	p, ok := c.readPath(n.Args[row.arg()])
	if !ok {
		return pass
	}
	real, inside := c.s.real(p)
	group, magic := false, int64(bpfFSMagic)
	if !inside {
		real, inside = c.s.cg.real(p, row.makes)
		group = inside
	}
	if !inside {
		switch {
		case row.fs && strings.HasPrefix(p, c.s.root):
			real = p
		case row.fs && path.Clean(p) == tracefs[0]: // which need not be mounted to be served
			real, magic = "/", unix.TRACEFS_MAGIC
		default:
			return pass
		}
	}
	args := n.Args
	if real == c.s.root && row.removesDir(&args) {
		return failed(unix.EBUSY) // a file system is mounted there
	}
	buf := append([]byte(real), 0)
	args[row.arg()] = uint64(uintptr(unsafe.Pointer(&buf[0])))
	if row.dir >= 0 {
		args[row.dir] = atCWD
	}
	var buf2, out []byte
	if row.to != 0 {
		p2, _ := c.readPath(n.Args[row.to])
		real2, inside := c.s.real(p2)
		if !inside || group || real == c.s.root || real2 == c.s.root {
			return failed(unix.EXDEV)
		}
		buf2 = append([]byte(real2), 0)
		args[row.to] = uint64(uintptr(unsafe.Pointer(&buf2[0])))
		if row.dir >= 0 {
			args[row.to-1] = atCWD
		}
	}
	if row.links {
		text, ok := c.readPath(n.Args[0])
		if !ok {
			return failed(unix.EFAULT)
		}
		// The server follows it, with its own rights: it leads nowhere else, and no
		// further than it says.
		if !strings.HasPrefix(text, "/") {
			text = path.Join(path.Dir(p), text)
		}
		if text, ok = c.s.real(text); !ok || group {
			return failed(unix.EPERM)
		}
		buf2 = append([]byte(text), 0)
		args[0] = uint64(uintptr(unsafe.Pointer(&buf2[0])))
	}
	if row.out != 0 {
		out = make([]byte, row.size)
		args[row.out] = uint64(uintptr(unsafe.Pointer(&out[0])))
	}
	var gone uint64
	if group && row.removes {
		gone = inode(real)
	}
	r, _, e := unix.Syscall6(uintptr(row.nr), uintptr(args[0]), uintptr(args[1]), uintptr(args[2]), uintptr(args[3]), uintptr(args[4]), uintptr(args[5]))
	keepAlive(buf, buf2)
	if e != 0 {
		return failed(e)
	}
	if gone != 0 {
		c.s.sys.CgroupGone(gone)
	}
	if row.opens {
		defer unix.Close(int(r))
		return c.giveFD(int(r))
	}
	if row.fs {
		if group {
			magic = unix.CGROUP2_SUPER_MAGIC
		}
		(*unix.Statfs_t)(unsafe.Pointer(&out[0])).Type = magic
	}
	if out != nil && !c.Write(n.Args[row.out], out) {
		return failed(unix.EFAULT)
	}
	return answer{val: int64(r)}
}

const (
	bpfFSMagic = 0xcafe4a11
	maxPath    = 4096
)

// atCWD is AT_FDCWD as an argument.
var atCWD = uint64(uint32(unix.AT_FDCWD & 0xffffffff))

// readPath reads a path of the client's.
func (c *client) readPath(addr uint64) (string, bool) {
	var out []byte
	for len(out) < maxPath {
		part := make([]byte, min(256, maxPath-len(out), 4096-int(addr%4096)))
		if !c.Read(addr, part) {
			return "", false
		}
		if i := bytes.IndexByte(part, 0); i >= 0 {
			return string(append(out, part[:i]...)), true
		}
		out = append(out, part...)
		addr += uint64(len(part))
	}
	return "", false
}

// real maps a path of the client's BPF file system into the server's directory.
func (s *server) real(p string) (string, bool) {
	if !strings.HasPrefix(p, pin.Mount) {
		return "", false
	}
	p = path.Clean(p)
	if p != pin.Mount && !strings.HasPrefix(p, pin.Mount+"/") {
		return "", false
	}
	return s.root + p[len(pin.Mount):], true
}

// openat serves files below /sys/fs/bpf and /proc/…/fdinfo of our descriptors.
func (c *client) openat(n *notif) answer {
	p, ok := c.readPath(n.Args[1])
	if !ok {
		return pass
	}
	if fd, ok := c.fdinfoOf(p); ok {
		f, e := c.File(fd)
		if e != 0 || f == nil {
			return pass
		}
		defer f.Put()
		return c.giveText(f.FDInfo())
	}
	if row := sysctlOf(p); row != nil {
		return c.openSysctl(row, n.Args[2])
	}
	if text, ok := c.s.tracepointFile(p); ok {
		if text == "" {
			return failed(unix.ENOENT)
		}
		return c.giveText(text)
	}
	if c.s.trace != nil && c.caps()&bpfsys.CapSysAdmin != 0 && isTracePipe(p) {
		return c.openTracePipe(n.Args[2])
	}
	if a, ok := c.openPinned(int32(n.Args[0]), p, n.Args[2]); ok {
		return a
	}
	return c.pathCall(&pathCall{nr: unix.SYS_OPENAT, dir: 0, opens: true}, n)
}

// openPinned opens a pinned object as a file: an iterator's is what it writes on a walk that is made now, a
// map's are its elements; others have no contents (bpffs_obj_open).
func (c *client) openPinned(dir int32, p string, flags uint64) (answer, bool) {
	if flags&unix.O_PATH != 0 || !strings.HasPrefix(p, pin.Mount) && (strings.HasPrefix(p, "/") || !c.s.store.hasNames()) {
		return answer{}, false
	}
	real, e := c.resolve(dir, p)
	if e != 0 {
		return answer{}, false
	}
	o, e := c.s.pinned(real)
	if e != 0 {
		return answer{}, false // a directory, or nothing
	}
	defer o.Close()
	if m, ok := o.(bpfsys.Map); ok {
		text, e := m.Show()
		if e != 0 {
			return failed(unix.Errno(e)), true
		}
		return c.giveText(text), true
	}
	l, ok := o.(*bpfsys.Link)
	if !ok {
		return failed(unix.EIO), true
	}
	who := c.caller()
	it, e := c.s.sys.OpenIter(&who, l)
	if e != 0 {
		return failed(unix.Errno(e)), true
	}
	fd, e := c.Install(bpfsys.NewFile(it))
	return answer{val: int64(fd), err: unix.Errno(e)}, true
}

// giveText opens a file with a text for the client.
func (c *client) giveText(text string) answer {
	m, err := unix.MemfdCreate("text", unix.MFD_CLOEXEC)
	if err != nil {
		return failed(unix.ENOMEM)
	}
	defer unix.Close(m)
	unix.Write(m, []byte(text))
	unix.Seek(m, 0, 0)
	return c.giveFD(m)
}

// fdinfoOf tells whether a path is the fdinfo of one of the client's own descriptors.
func (c *client) fdinfoOf(p string) (int32, bool) {
	return c.ownFD(p, "fdinfo/")
}

// readlink shows descriptors of ours as what they stand for, and symbolic links in the BPF file system.
func (c *client) readlink(n *notif, pathArg int) answer {
	p, ok := c.readPath(n.Args[pathArg])
	if !ok {
		return pass
	}
	var text []byte
	if real, ok := c.s.real(p); ok {
		link, err := os.Readlink(real)
		if err != nil {
			return failed(unix.Errno(number(err)))
		}
		if rest, ok := strings.CutPrefix(link, c.s.root); ok && (rest == "" || rest[0] == '/') {
			link = pin.Mount + rest
		}
		text = []byte(link)
	} else {
		fd, ok := c.ownFD(p, "fd/")
		if !ok {
			return pass
		}
		f, e := c.File(fd)
		if e != 0 || f == nil {
			return pass
		}
		defer f.Put()
		text = []byte("anon_inode:" + f.Kind())
	}
	text = text[:min(uint64(len(text)), n.Args[pathArg+2])]
	if !c.Write(n.Args[pathArg+1], text) {
		return failed(unix.EFAULT)
	}
	return answer{val: int64(len(text))}
}

// ownFD returns N of a path like /proc/self/fd/N.
func (c *client) ownFD(p, dir string) (int32, bool) {
	rest, ok := strings.CutPrefix(p, "/proc/")
	if !ok {
		return 0, false
	}
	who, rest, ok := strings.Cut(rest, "/")
	if !ok {
		return 0, false
	}
	num, ok := strings.CutPrefix(rest, dir)
	if !ok || who != "self" && who != "thread-self" && who != strconv.Itoa(int(c.pid)) && who != strconv.Itoa(c.tgid()) {
		return 0, false
	}
	fd, err := strconv.ParseInt(num, 10, 32)
	return int32(fd), err == nil
}

// tgid is the client's process, of which pid may be one thread.
func (c *client) tgid() int {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(b), "\nTgid:\t")
	line, _, _ := strings.Cut(rest, "\n")
	id, _ := strconv.Atoi(line)
	return id
}

// Pin makes a name for an object (bpfsys.Names).
func (c *client) Pin(dir int32, p string, o pin.Object) errno.Errno {
	real, e := c.resolve(dir, p)
	if e != 0 {
		return e
	}
	if e := nameable(real[len(c.s.root):]); e != 0 {
		return e
	}
	return c.s.pin(real, o)
}

// Get opens the object behind a name (bpfsys.Names).
func (c *client) Get(dir int32, p string) (pin.Object, errno.Errno) {
	real, e := c.resolve(dir, p)
	if e == errno.EPERM { // some other file
		if _, err := os.Lstat(p); err != nil {
			return nil, errno.ENOENT
		}
		return nil, errno.EACCES
	}
	if e != 0 {
		return nil, e
	}
	return c.s.pinned(real)
}

// resolve turns a path into one of the server's; EPERM says that it is not in the client's BPF file system.
func (c *client) resolve(dir int32, p string) (string, errno.Errno) {
	if real, ok := c.s.real(p); ok {
		return real, 0
	}
	if !strings.HasPrefix(p, "/") {
		link := fmt.Sprintf("/proc/%d/cwd", c.pid)
		if dir != bpfsys.AtCWD {
			link = fmt.Sprintf("/proc/%d/fd/%d", c.pid, dir)
		}
		base, err := os.Readlink(link)
		if err != nil {
			return "", errno.EBADF
		}
		p = path.Join(base, p)
	}
	if p != c.s.root && !strings.HasPrefix(p, c.s.root+"/") {
		return "", errno.EPERM
	}
	return path.Clean(p), 0
}

// nameable follows bpf_lookup: names with dots are reserved.
func nameable(p string) errno.Errno {
	if strings.Contains(p, ".") {
		return errno.EPERM
	}
	return 0
}
