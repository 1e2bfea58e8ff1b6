//go:build linux && (amd64 || arm64)

package serve

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/skep-bpf/skep/internal/bpfsys"
	"github.com/skep-bpf/skep/internal/errno"
)

// server is what sessions on one machine share.
type server struct {
	sys   *bpfsys.System
	store *store
	root  string // the directory behind /sys/fs/bpf
	cg    cgroups

	traced tracepoints
	trace  *TracePipe    // what trace_pipe holds; nil: it is the kernel's
	ended  chan struct{} // closed when the server ends
	byNr   map[int32]watch

	dropped threadCaps

	xsks  xsks
	holes closed

	mu     sync.Mutex
	events map[any]int // eventfd of each ring buffer, by map or perf event, that is polled
}

// session serves one program and its children.
type session struct {
	*server
	caps     bpfsys.Caps
	uid      uint32
	listener int

	glance glance // for loop alone
	dirs   fdDirs
}

// Exec runs a program with its bpf(2) calls served, and returns its exit code
// as a shell has it: 128 and the signal's number if one ended it.
func Exec(o *Options) (int, error) {
	if IsShim() {
		return 0, errors.New("BUG: this process was to call serve.Shim") // and would start itself for ever
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(pair[0])
	theirs := os.NewFile(uintptr(pair[1]), "session")
	cmd := exec.Command("/proc/self/exe", o.Args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = o.Stdin, o.Stdout, o.Stderr
	cmd.ExtraFiles = []*os.File{theirs} // becomes sessionFD
	if cmd.Env = o.Env; cmd.Env == nil {
		cmd.Env = os.Environ()
	}
	kind := "1"
	if o.Root && os.Geteuid() != 0 {
		kind = shimRoot
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
			UidMappings: []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}},
		}
	}
	cmd.Env = append(cmd.Env, shimEnv+"="+kind, ServedEnv+"="+o.place())

	begin, end, err := o.server(pair[0])
	if err != nil {
		theirs.Close()
		return 0, err
	}
	defer end()
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	defer signal.Stop(signals)
	if err := cmd.Start(); err != nil {
		theirs.Close()
		if kind == shimRoot {
			err = fmt.Errorf("user namespaces are not to be had here, and --root needs one: %w", err)
		}
		return 0, err
	}
	theirs.Close()
	go func() {
		for sig := range signals {
			if sig != syscall.SIGINT { // which the terminal sends to both
				cmd.Process.Signal(sig)
			}
		}
	}()
	if listener, err := recvFD(pair[0]); err == nil { // else the shim has said why
		if err := begin(listener); err != nil {
			cmd.Process.Kill()
			cmd.Wait()
			return 0, err
		}
	}
	err = cmd.Wait()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		ws := exit.Sys().(syscall.WaitStatus)
		if ws.Signaled() {
			return 128 + int(ws.Signal()), nil
		}
		return ws.ExitStatus(), nil
	}
	return 0, err
}

// place is what ServedEnv says.
func (o *Options) place() string {
	if o.Machine == "" {
		return OwnMachine
	}
	if abs, err := filepath.Abs(o.Machine); err == nil {
		return abs
	}
	return o.Machine
}

// server prepares who answers: a server in this process, or the one behind o.Machine.
// begin is called with the listener, end when the program has ended.
func (o *Options) server(int) (begin func(listener int) error, end func(), err error) {
	if o.Machine != "" {
		return o.join()
	}
	s, err := newServer(o.System, o.Trace)
	if err != nil {
		return nil, nil, err
	}
	begin = func(listener int) error {
		go s.session(listener, o.Caps)
		return nil
	}
	return begin, s.close, nil
}

func newServer(sys *bpfsys.System, trace *TracePipe) (*server, error) {
	st, err := newStore()
	if err != nil {
		return nil, err
	}
	st.reclaim = func() { sys.Machine().Epoch.Reclaim() }
	root, err := os.MkdirTemp("", "skep-bpffs-")
	if err != nil {
		return nil, err
	}
	if root, err = filepath.EvalSymlinks(root); err != nil {
		return nil, err
	}
	cg, err := newCgroups(root + "-cgroup")
	if err != nil {
		return nil, err
	}
	s := &server{sys: sys, trace: trace, ended: make(chan struct{}), store: st, root: root, cg: cg, byNr: map[int32]watch{}, events: map[any]int{}, xsks: xsks{all: map[*bpfsys.XSK]*xsk{}}, traced: tracepoints{ids: map[string]uint64{}}}
	for _, w := range watched {
		s.byNr[int32(w.nr)] = w
	}
	go st.watch()
	return s, nil
}

// close ends the server: what clients left behind goes.
func (s *server) close() {
	close(s.ended)
	s.store.close()
	s.holes.close()
	os.RemoveAll(s.root)
	os.RemoveAll(s.cg.root)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, fd := range s.events {
		unix.Close(fd)
	}
	s.events = nil
}

// session answers a program's notifications until nobody is left to send any.
func (s *server) session(listener int, caps bpfsys.Caps) {
	defer unix.Close(listener)
	unix.Syscall(unix.SYS_IOCTL, uintptr(listener), ioSetFlags, syncWakeUp) // only faster
	(&session{server: s, caps: caps, uid: uint32(os.Getuid()), listener: listener}).loop()
}

// recvFD takes the listener from the shim. It fails where the shim ended without one.
func recvFD(sock int) (int, error) {
	b, oob := make([]byte, 1), make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(sock, b, oob, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return -1, err
	}
	return rightsOf(oob[:n])
}

// rightsOf returns the descriptor that came with a message.
func rightsOf(oob []byte) (int, error) {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil || len(msgs) == 0 {
		return -1, fmt.Errorf("no listener: %w", unix.EPROTO)
	}
	fds, err := unix.ParseUnixRights(&msgs[0])
	if err != nil || len(fds) == 0 {
		return -1, fmt.Errorf("no listener: %w", unix.EPROTO)
	}
	for _, more := range fds[1:] { // there is room for two
		unix.Close(more)
	}
	return fds[0], nil
}

// loop takes notifications until no client is left. Each is answered by a
// goroutine of its own, so that a long PROG_LOAD holds up nobody else; but those of one element, for
// which another goroutine would take longer than the answer.
func (s *session) loop() {
	var busy sync.WaitGroup
	defer busy.Wait()
	defer s.dirs.close()
	n := new(notif)
	wait := !receives() // else who waits to receive learns that nobody is left
	for {
		if wait && s.ended(-1) {
			return
		}
		*n = notif{}
		switch e := ioctl(s.listener, ioRecv, unsafe.Pointer(n)); e {
		case 0:
			if quick(n) {
				s.glance.look(n.PID, n)
				s.serve(&client{s: s, pid: n.PID, id: n.ID, quick: true}, n)
			} else {
				mine := *n
				busy.Go(func() { s.serve(&client{s: s, pid: mine.PID, id: mine.ID}, &mine) })
			}
		case unix.EINTR, unix.ENOENT: // it was killed meanwhile
			if s.ended(0) {
				return
			}
		default:
			return
		}
	}
}

// ended reports whether no client is left, or waits until there is something to receive.
func (s *session) ended(timeout int) bool {
	fds := []unix.PollFd{{Fd: int32(s.listener), Events: unix.POLLIN}}
	_, err := unix.Poll(fds, timeout)
	return err != nil && err != unix.EINTR || fds[0].Revents&unix.POLLHUP != 0
}

// serve answers one notification.
func (s *session) serve(c *client, n *notif) {
	a := c.answer(n)
	r := resp{ID: n.ID, Val: a.val, Error: -int32(a.err)}
	if a.pass {
		r = resp{ID: n.ID, Flags: flagContinue}
	} else if a.err != 0 {
		r.Val = 0
	}
	ioctl(s.listener, ioSend, unsafe.Pointer(&r)) // fails if it was killed meanwhile
}

// client is one process, or thread, whose call is served.
type client struct {
	s   *session
	pid uint32
	id  uint64 // of the notification

	quick bool // it is served by loop itself, which looked at its memory
}

func (c *client) answer(n *notif) answer {
	if n.Arch != auditArch {
		c.s.sys.Unserved("bpf(2) of 32-bit programs", "a build of the program for 64 bits")
		return failed(unix.ENOSYS)
	}
	if w, ok := c.s.byNr[n.Nr]; ok {
		return w.do(c, n)
	}
	return pass
}

// otherOption says of options by which a program is put to use that the kernel does not know what skep does.
func (c *client) otherOption(n *notif) answer {
	if option := uint32(n.Args[2]); uint32(n.Args[1]) != unix.SOL_SOCKET || option != soAttachBPF && option != soAttachReuseportBPF {
		return c.netlink(int(int32(n.Args[0])))
	}
	c.s.sys.Unserved("attaching a program to a socket of the kernel's", "skep filter or skep run, which work on captures")
	return pass
}

func (c *client) caller() bpfsys.Caller {
	return bpfsys.Caller{Memory: c, Files: c, Names: c, Caps: c.caps(), UID: c.s.uid, CPU: c.cpu, Places: c, Sockets: c, Objects: c}
}

// cpu is the one the client is on (proc(5), stat, the field "processor"); -1 if that is not known.
func (c *client) cpu() int {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", c.pid))
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(f) < 37 {
		return -1
	}
	n, err := strconv.Atoi(f[36])
	if err != nil {
		return -1
	}
	return n
}

// bpf serves one bpf(2). A close that came before takes no effect on single elements.
func (c *client) bpf(n *notif) answer {
	if !c.quick {
		c.s.store.settle()
	}
	who := c.caller()
	r, e := c.s.sys.Bpf(&who, uint32(n.Args[0]), n.Args[1], uint32(n.Args[2]))
	return answer{val: int64(r), err: unix.Errno(e)}
}

// Read and Write reach the client's memory (bpfsys.Memory).
func (c *client) Read(addr uint64, b []byte) bool {
	if c.quick && c.s.glance.read(addr, b) {
		return true
	}
	return c.vm(unix.SYS_PROCESS_VM_READV, addr, b)
}

// Write is described with Read.
func (c *client) Write(addr uint64, b []byte) bool {
	return c.vm(unix.SYS_PROCESS_VM_WRITEV, addr, b)
}

func (c *client) vm(nr uintptr, addr uint64, b []byte) bool {
	if len(b) == 0 {
		return true
	}
	l := unix.Iovec{Base: &b[0], Len: uint64(len(b))}
	r := unix.RemoteIovec{Base: uintptr(addr), Len: len(b)}
	n, _, e := unix.Syscall6(nr, uintptr(c.pid), uintptr(unsafe.Pointer(&l)), 1, uintptr(unsafe.Pointer(&r)), 1, 0)
	return e == 0 && int(n) == len(b)
}

// File finds what a descriptor refers to (bpfsys.Files).
func (c *client) File(fd int32) (*bpfsys.File, errno.Errno) {
	if fd < 0 {
		return nil, errno.EBADF
	}
	return c.fileOf(c.pid, fd)
}

func (c *client) fileOf(pid uint32, fd int32) (*bpfsys.File, errno.Errno) {
	var st unix.Stat_t
	var err error
	if c.quick && pid == c.pid {
		err = c.s.dirs.stat(pid, fd, &st)
	} else {
		err = unix.Stat(fmt.Sprintf("/proc/%d/fd/%d", pid, fd), &st)
	}
	if err != nil {
		return nil, errno.EBADF
	}
	if c.s.holes.is(&st) {
		return nil, errno.EBADF
	}
	return c.s.store.find(&st), 0
}

// FileOf finds what a descriptor of another process refers to (bpfsys.Places).
// Those of other users, which cannot be looked at, are none of this machine's.
func (c *client) FileOf(pid uint32, fd int32) (*bpfsys.File, errno.Errno) {
	if !c.Alive(int32(pid)) {
		return nil, errno.ENOENT
	}
	if int(pid) == os.Getpid() {
		return nil, 0 // memory files of clients' objects
	}
	f, e := c.fileOf(pid, fd)
	if dir := fmt.Sprintf("/proc/%d/fd", pid); e != 0 && unix.Access(dir, unix.X_OK) != nil {
		return nil, 0
	}
	return f, e
}

// Install gives the client a descriptor (bpfsys.Files).
func (c *client) Install(f *bpfsys.File) (int32, errno.Errno) {
	fd, e := c.s.store.make(f)
	if e != 0 {
		return 0, e
	}
	defer unix.Close(fd) // if the client has none, this was the last
	a := c.giveFD(fd)
	return int32(a.val), errno.Errno(a.err)
}

// giveFD copies a descriptor into the client; the answer is its number there.
func (c *client) giveFD(fd int) answer {
	a := addfd{ID: c.id, Src: uint32(fd), NewFlags: unix.O_CLOEXEC}
	if at, ok := c.hole(); ok {
		a.Flags, a.NewFD = setFD, at
	}
	return c.addFD(&a)
}

func keepAlive(bs ...[]byte) { runtime.KeepAlive(bs) }
