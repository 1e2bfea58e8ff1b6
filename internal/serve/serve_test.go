//go:build linux && (amd64 || arm64)

package serve

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/skep-bpf/skep/internal/bpfsys"
	"github.com/skep-bpf/skep/internal/oracle"
)

// In a served process the binary is one of the clients below instead of the tests.
func TestMain(m *testing.M) {
	if IsShim() {
		os.Exit(Shim())
	}
	if name := os.Getenv("SERVE_CLIENT"); name != "" {
		if err := clients[name](); err != nil {
			fmt.Fprintf(os.Stderr, "%+v\n", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// clients are what served processes do.
var clients = map[string]func() error{
	// killed dies while it holds objects, and so does a child that has inherited one.
	"killed": func() error {
		m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1, Flags: 1 << 10})
		if err != nil {
			return err
		}
		if _, err := m.Memory(); err != nil {
			return err
		}
		if _, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Hash, KeySize: 4, ValueSize: 8, MaxEntries: 10}); err != nil {
			return err
		}
		if err := m.Pin("/sys/fs/bpf/kept"); err != nil {
			return err
		}
		return unix.Kill(os.Getpid(), unix.SIGKILL)
	},
	// heir starts a client that is killed and looks at what is left: what has a name.
	"heir": func() error {
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), "SERVE_CLIENT=killed")
		if err := cmd.Run(); err == nil {
			return errors.New("the child was not killed")
		}
		id, err := ebpf.MapGetNextID(0)
		if err != nil {
			return err
		}
		if next, err := ebpf.MapGetNextID(id); !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("maps %d and %d are left, want one: %w", id, next, err)
		}
		if err := os.Remove("/sys/fs/bpf/kept"); err != nil {
			return err
		}
		if id, err := ebpf.MapGetNextID(0); !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("map %d is left without a name: %w", id, err)
		}
		return nil
	},
	// symlinks makes names for directories of the BPF file system, as iproute2 does.
	"symlinks": func() error {
		if err := os.MkdirAll("/sys/fs/bpf/tc/globals", 0o700); err != nil {
			return err
		}
		if err := os.Symlink("/sys/fs/bpf/tc/", "/sys/fs/bpf/xdp"); err != nil {
			return err
		}
		if to, err := os.Readlink("/sys/fs/bpf/xdp"); err != nil || filepath.Clean(to) != "/sys/fs/bpf/tc" {
			return fmt.Errorf("readlink: %q, %w", to, err)
		}
		m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1})
		if err != nil {
			return err
		}
		defer m.Close()
		if err := m.Pin("/sys/fs/bpf/xdp/globals/m"); err != nil {
			return err
		}
		again, err := ebpf.LoadPinnedMap("/sys/fs/bpf/tc/globals/m", nil)
		if err != nil {
			return err
		}
		defer again.Close()
		if err := os.Symlink("elsewhere", "/sys/fs/bpf/xdp"); !errors.Is(err, os.ErrExist) {
			return fmt.Errorf("over a name: %w", err)
		}
		for _, to := range []string{"/etc", "../../../etc", "tc/../../../..", "/sys/fs/bpf/../cgroup"} {
			if err := os.Symlink(to, "/sys/fs/bpf/out"); !errors.Is(err, os.ErrPermission) {
				return fmt.Errorf("out of the file system, %s: %w", to, err)
			}
		}
		if err := os.Symlink("tc/../tc", "/sys/fs/bpf/relative"); err != nil {
			return err
		}
		if _, err := os.Stat("/sys/fs/bpf/relative/globals/m"); err != nil {
			return err
		}
		return errors.Join(os.Remove("/sys/fs/bpf/relative"), os.Remove("/sys/fs/bpf/xdp"), os.Remove("/sys/fs/bpf/tc/globals/m"))
	},
	// mountpoint tries what cannot be done with the directory a file system is mounted on.
	"mountpoint": func() error {
		const root = "/sys/fs/bpf"
		if err := os.Mkdir(root+"/d", 0o700); err != nil {
			return err
		}
		for _, names := range [][2]string{{root, "/tmp/b"}, {root, root + "/e"}, {root + "/d", root}} {
			if err := unix.Rename(names[0], names[1]); err != unix.EXDEV {
				return fmt.Errorf("rename %s %s: %w", names[0], names[1], err)
			}
		}
		if err := os.Remove(root + "/d"); err != nil {
			return err
		}
		if err := unix.Rmdir(root); err != unix.EBUSY {
			return fmt.Errorf("rmdir: %w", err)
		}
		if err := unix.Unlink(root); err != unix.EISDIR {
			return fmt.Errorf("unlink: %w", err)
		}
		return os.Mkdir(root+"/d", 0o700)
	},
	// sockets puts its own into maps and finds their cookies.
	"sockets": func() error {
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
		if err != nil {
			return err
		}
		udp, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
		if err != nil {
			return err
		}
		if err := unix.SetsockoptInt(udp, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
			return err
		}
		for _, c := range []struct {
			typ  ebpf.MapType
			fd   int
			bind bool
			want error
		}{
			{ebpf.SockMap, pair[0], false, nil},
			{ebpf.SockHash, pair[1], false, nil},
			{ebpf.SockMap, udp, false, unix.EOPNOTSUPP},
			{ebpf.ReusePortSockArray, udp, false, unix.EINVAL},
			{ebpf.ReusePortSockArray, udp, true, nil},
			{ebpf.ReusePortSockArray, 0, false, unix.ENOTSOCK},
			{ebpf.SockMap, 999, false, unix.EBADF},
		} {
			if c.bind {
				if err := unix.Bind(udp, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
					return err
				}
			}
			m, err := ebpf.NewMap(&ebpf.MapSpec{Type: c.typ, KeySize: 4, ValueSize: 8, MaxEntries: 2})
			if err != nil {
				return err
			}
			defer m.Close()
			err = m.Put(uint32(1), uint64(c.fd))
			if c.want != nil {
				if !errors.Is(err, c.want) {
					return fmt.Errorf("%s of %d: %v, want %w", c.typ, c.fd, err, c.want)
				}
				continue
			}
			if err != nil {
				return fmt.Errorf("%s of %d: %w", c.typ, c.fd, err)
			}
			want, err := unix.GetsockoptUint64(c.fd, unix.SOL_SOCKET, unix.SO_COOKIE)
			if err != nil {
				return err
			}
			var cookie uint64
			if err := m.Lookup(uint32(1), &cookie); err != nil || cookie != want {
				return fmt.Errorf("%s of %d: cookie %d, want %d: %w", c.typ, c.fd, cookie, want, err)
			}
			if err := m.Delete(uint32(1)); err != nil {
				return err
			}
			if err := m.Lookup(uint32(1), &cookie); !errors.Is(err, ebpf.ErrKeyNotExist) {
				return fmt.Errorf("%s of %d is there after it was deleted: %w", c.typ, c.fd, err)
			}
		}
		return nil
	},
	// pins gives a map a name, finds opens it in another process.
	"pins": func() error {
		m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.LPMTrie, KeySize: 8, ValueSize: 4, MaxEntries: 8, Flags: 1})
		if err != nil {
			return err
		}
		return m.Pin("/sys/fs/bpf/shared")
	},
	"finds": func() error {
		m, err := ebpf.LoadPinnedMap("/sys/fs/bpf/shared", nil)
		if err != nil {
			return err
		}
		return m.Unpin()
	},
	// many makes and closes more maps than there could be descriptors.
	"many": func() error {
		for i := range 3000 {
			m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Hash, KeySize: 4, ValueSize: 8, MaxEntries: 10})
			if err != nil {
				return fmt.Errorf("map %d: %w", i, err)
			}
			m.Close()
		}
		return nil
	},
	// exhausted runs out of descriptors.
	"exhausted": func() error {
		lim := unix.Rlimit{Cur: 40, Max: 40}
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &lim); err != nil {
			return err
		}
		var all []*ebpf.Map
		for {
			m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1})
			if errors.Is(err, unix.EMFILE) {
				break
			}
			if err != nil {
				return err
			}
			all = append(all, m)
		}
		for _, m := range all {
			m.Close()
		}
		m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1})
		if err == nil {
			m.Close()
		}
		return err
	},
}

// said is what several have written: a client, its server, and who runs both.
type said struct {
	mu sync.Mutex
	b  []byte
}

func (s *said) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.b = append(s.b, b...)
	return len(b), nil
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return string(s.b)
}

func (s *said) Len() int { return len(s.String()) }

func (s *said) Reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.b = nil
}

// serveClient runs a client and returns the system behind it and its exit code.
func serveClient(t *testing.T, name string) (*bpfsys.System, int) {
	t.Helper()
	oracle.Need(t, "interception of system calls", Available())
	var errs said
	trace := NewTracePipe()
	sys, done, err := NewSystem(MachineOptions{Trace: trace}, &errs)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(done)
	code, err := Exec(&Options{System: sys, Trace: trace, Caps: bpfsys.AllCaps, Args: []string{"/proc/self/exe"},
		Env: append(os.Environ(), "SERVE_CLIENT="+name), Stdout: os.Stdout, Stderr: &errs})
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(errs.String()) {
		if !strings.HasPrefix(line, "skep: not served: ") { // which is what some clients look for
			t.Errorf("%s: %s", name, line)
		}
	}
	return sys, code
}

// empty checks that a system has no objects left.
func empty(t *testing.T, sys *bpfsys.System) {
	t.Helper()
	if id, ok := sys.Machine().Maps.NextID(0); ok {
		t.Errorf("map %d is left", id)
	}
	if id, ok := sys.Machine().NextProgram(0); ok {
		t.Errorf("program %d is left", id)
	}
}

// Symbolic links in the BPF file system lead to what is there.
func TestSymlinks(t *testing.T) {
	sys, code := serveClient(t, "symlinks")
	if code != 0 {
		t.Errorf("exit code %d", code)
	}
	empty(t, sys)
}

// The directory of the BPF file system is the server's, and stays.
func TestMountPoint(t *testing.T) {
	if _, code := serveClient(t, "mountpoint"); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// TestSockets: a client's sockets are the kernel's; maps of sockets take them all the same.
func TestSockets(t *testing.T) {
	sys, code := serveClient(t, "sockets")
	if code != 0 {
		t.Errorf("exit code %d", code)
	}
	empty(t, sys)
}

// A client that is killed gives everything back.
func TestKilledClient(t *testing.T) {
	sys, code := serveClient(t, "killed")
	if code != 128+9 {
		t.Errorf("exit code %d, want that of a kill", code)
	}
	empty(t, sys)
	if _, code := serveClient(t, "heir"); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

func TestManyMaps(t *testing.T) {
	before := files(t)
	sys, code := serveClient(t, "many")
	if code != 0 {
		t.Errorf("exit code %d", code)
	}
	empty(t, sys)
	if after := files(t); after > before+3 {
		t.Errorf("%d descriptors open, %d before", after, before)
	}
}

func TestNoDescriptors(t *testing.T) {
	sys, code := serveClient(t, "exhausted")
	if code != 0 {
		t.Errorf("exit code %d", code)
	}
	empty(t, sys)
}

// files counts this process's descriptors.
func files(t *testing.T) int {
	runtime.GC()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// A program that cannot be run or found ends as in a shell.
func TestExitCodes(t *testing.T) {
	oracle.Need(t, "interception of system calls", Available())
	for _, c := range []struct {
		args []string
		code int
	}{
		{[]string{"sh", "-c", "exit 7"}, 7},
		{[]string{"sh", "-c", "kill -TERM $$"}, 128 + 15},
		{[]string{"/no/such/program"}, 127},
		{[]string{"/etc/passwd"}, 127},
	} {
		var errs said
		sys, done, err := NewSystem(MachineOptions{}, &errs)
		if err != nil {
			t.Fatal(err)
		}
		code, err := Exec(&Options{System: sys, Args: c.args, Stderr: &errs})
		if err != nil || code != c.code {
			t.Errorf("%v: exit code %d, %v, want %d", c.args, code, err, c.code)
		}
		done()
	}
}

// A machine that is served outlives the programs that join it; who is not let in, or finds nobody, is told so.
func TestListen(t *testing.T) {
	oracle.Need(t, "interception of system calls", Available())
	path := filepath.Join(t.TempDir(), "machine")
	var errs said
	join := func(name string, caps bpfsys.Caps) (int, error) {
		errs.Reset()
		return Exec(&Options{Machine: path, Caps: caps, Args: []string{"/proc/self/exe"},
			Env: append(os.Environ(), "SERVE_CLIENT="+name), Stderr: &errs})
	}
	if _, err := join("pins", bpfsys.AllCaps); err == nil || !strings.Contains(err.Error(), "no skep serve listens at") {
		t.Errorf("nobody listens: %v", err)
	}
	sys, done, err := NewSystem(MachineOptions{}, &errs)
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	stop, ready, ended := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- Listen(&ListenOptions{System: sys, Path: path, Caps: bpfsys.AllCaps, Stop: stop, Ready: func() { close(ready) }})
	}()
	select {
	case <-ready:
	case err := <-ended:
		t.Fatal(err)
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v: others could connect", st.Mode(), err)
	}
	if err := Listen(&ListenOptions{System: sys, Path: path, Stop: stop, Ready: func() {}}); !errors.Is(err, ErrInUse) {
		t.Errorf("a second server at one socket: %v", err)
	}
	for _, name := range []string{"pins", "finds"} {
		if code, err := join(name, bpfsys.AllCaps); err != nil || code != 0 {
			t.Errorf("%s: exit code %d, %v: %s", name, code, err, errs.String())
		}
	}
	if code, err := join("pins", 0); err != nil || code == 0 || !strings.Contains(errs.String(), "not permitted") {
		t.Errorf("without capabilities: exit code %d, %v: %s", code, err, errs.String())
	}
	close(stop)
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is left: %v", err)
	}
	empty(t, sys)
}
