//go:build linux && (amd64 || arm64)

package serve

import (
	"context"
	"net"
	"os"
	"runtime"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/skep-bpf/skep/internal/bpfsys"
	"github.com/skep-bpf/skep/internal/oracle"
)

// packets is a pair of connected sockets of the kind servers listen at.
func packets(t testing.TB) (server, client *net.UnixConn) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var ends [2]*net.UnixConn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "packets")
		c, err := net.FileConn(f)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		ends[i] = c.(*net.UnixConn)
	}
	return ends[0], ends[1]
}

// FuzzControl sends a server's control channel messages of anything, some with
// files: it answers, or hangs up, and keeps no file.
func FuzzControl(f *testing.F) {
	f.Add([]byte("\x20\x01v{\"Verb\":\"names\",\"Args\":\"/sys/fs/bpf/a\"}"))
	f.Add([]byte("\x05\x00+{\"Ve\x40\x02vrb\":\"names\",\"Args\":\"/sys/fs/bpf/../../etc\"}"))
	f.Add([]byte("\x02\x09v{\x02\x09+}\x02\x09+}"))
	s := &server{root: f.TempDir(), ended: make(chan struct{})}
	s.store, _ = newStore()
	verbs := Verbs{"names": func(_ context.Context, r *Request, send func(any) error) error {
		var path string
		if err := r.Decode(&path); err != nil {
			return err
		}
		if err := r.Names.Mkdir(path); err != nil {
			return err
		}
		_, e := r.Names.Get(path)
		return send([]any{path, e, len(r.Files)})
	}}
	file, err := os.Open("/dev/null")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		theirs, ours := packets(t)
		done := make(chan struct{})
		go func() {
			defer close(done)
			defer theirs.Close()
			s.control(theirs, verbs, s.ended)
		}()
		for len(data) >= 3 {
			n := min(int(data[0]), len(data)-2)
			fds := make([]int, min(data[1], 10))
			for i := range fds {
				fds[i] = int(file.Fd())
			}
			var oob []byte
			if len(fds) > 0 {
				oob = unix.UnixRights(fds...)
			}
			if _, _, err := ours.WriteMsgUnix(data[2:2+n], oob, nil); err != nil {
				break
			}
			data = data[2+n:]
		}
		ours.CloseWrite()
		buf := make([]byte, 1<<16)
		for {
			if _, err := ours.Read(buf); err != nil {
				break
			}
		}
		<-done
		ours.Close()
	})
}

// FuzzCalls answers system calls of a client that passes anything: none may panic, nor
// touch a file outside the server's own directories.
func FuzzCalls(f *testing.F) {
	oracle.Need(f, "interception of system calls", Available())
	sys, done, err := NewSystem(MachineOptions{Trace: NewTracePipe()}, os.Stderr)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(done)
	s, err := newServer(sys, NewTracePipe())
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(s.close)
	const room = 8192
	mem, err := unix.Mmap(-1, 0, room, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		f.Fatal(err)
	}
	base := uint64(uintptr(unsafe.Pointer(&mem[0])))
	for i := range watched {
		for _, path := range []string{"/sys/fs/bpf/a", "/sys/fs/bpf/../../etc/passwd", "/proc/self/fdinfo/3", "/proc/sys/kernel/bpf_stats_enabled", "/sys/kernel/tracing/trace_pipe", "/sys/fs/cgroup/unified/x"} {
			f.Add(uint8(i), []byte{0x10, 0x10, 0x10, 0x20, 0x30, 0x40}, []byte(path))
		}
	}
	// An argument is a place in memory, a small number, a bad address or a set of flags, by its byte.
	arg := func(b byte) uint64 {
		switch {
		case b < 0x80:
			return base + uint64(b)*room/0x80
		case b < 0xc0:
			return uint64(b - 0x80)
		case b < 0xe0:
			return uint64(1)<<47 + uint64(b)
		}
		return ^uint64(0) >> (b - 0xe0)
	}
	f.Fuzz(func(t *testing.T, call uint8, args, text []byte) {
		w := watched[int(call)%len(watched)]
		if w.nr == unix.SYS_BPF { // FuzzBpf's
			return
		}
		runtime.LockOSThread() // one thread is the client
		defer runtime.UnlockOSThread()
		clear(mem)
		copy(mem, text)
		n := &notif{PID: uint32(unix.Gettid()), Nr: int32(w.nr), Arch: auditArch}
		for i := range n.Args {
			if i < len(args) {
				n.Args[i] = arg(args[i])
			}
		}
		for _, on := range w.on {
			n.Args[on.arg] = uint64(on.value)
		}
		c := &client{s: &session{server: s, caps: bpfsys.AllCaps, listener: -1}, pid: n.PID}
		a := w.do(c, n)
		if a.pass && a != pass {
			t.Errorf("call %d: passed on, and answered with %+v", w.nr, a)
		}
		for _, dir := range []string{s.root, s.cg.root} {
			if _, err := os.Stat(dir); err != nil { // which a client may rename or remove what is in, not itself
				t.Errorf("call %d: %v", w.nr, err)
			}
		}
	})
}
