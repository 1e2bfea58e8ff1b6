//go:build linux && (amd64 || arm64)

package serve

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/skep-bpf/skep/internal/bpfsys"
	"github.com/skep-bpf/skep/internal/oracle"
)

func init() {
	// servesWhoami serves a program as this user.
	clients["servesWhoami"] = func() error {
		sys, done, err := NewSystem(MachineOptions{}, os.Stderr)
		if err != nil {
			return err
		}
		defer done()
		_, err = Exec(&Options{System: sys, Args: []string{os.Getenv("PROGRAM")}, Env: append(os.Environ(), "SERVE_CLIENT=whoami"), Stdout: os.Stdout, Stderr: os.Stderr})
		return err
	}
	// hoards makes arrays, whose memory takes descriptors of the server's, until it has none left.
	clients["hoards"] = func() error {
		spec := &ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1, Flags: unix.BPF_F_MMAPABLE}
		var all []*ebpf.Map
		for {
			m, err := ebpf.NewMap(spec)
			if errors.Is(err, unix.ENOMEM) || errors.Is(err, ebpf.ErrNotSupported) { // it asks again, for less
				break
			}
			if err != nil {
				return err
			}
			if all = append(all, m); len(all) == 1000 {
				return errors.New("the server has a thousand descriptors")
			}
		}
		for i, m := range all {
			if err := m.Put(uint32(0), uint64(i)); err != nil {
				return fmt.Errorf("map %d of %d: %w", i, len(all), err)
			}
		}
		for _, m := range all {
			m.Close()
		}
		for range 1000 { // memory that was mapped is given back a moment after it was closed
			m, err := ebpf.NewMap(spec)
			if err == nil {
				return m.Close()
			}
			time.Sleep(time.Millisecond)
		}
		return errors.New("what was closed is not given back")
	}
}

// A server of few descriptors goes on when it has none left: calls fail with the kernel's errno,
// who connects waits. Neither does it fall over what is sent to its socket.
func TestHostileConnections(t *testing.T) {
	oracle.Need(t, "interception of system calls", Available())
	path := filepath.Join(t.TempDir(), "machine")
	server := exec.Command("/proc/self/exe")
	server.Env = append(os.Environ(), "SERVE_CLIENT=listens", "LISTEN="+path)
	var heard bytes.Buffer
	server.Stderr = &heard
	out, err := server.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		server.Process.Kill()
		server.Wait()
		if heard.Len() != 0 {
			t.Errorf("the server said %s", heard.String())
		}
	}()
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	join := func(name string) {
		t.Helper()
		var errs said
		code, err := Exec(&Options{Machine: path, Caps: bpfsys.AllCaps, Args: []string{"/proc/self/exe"},
			Env: append(os.Environ(), "SERVE_CLIENT="+name), Stderr: &errs})
		if err != nil || code != 0 {
			t.Errorf("%s: exit code %d, %v: %s", name, code, err, errs.String())
		}
	}
	dial := func() *net.UnixConn {
		t.Helper()
		c, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: path, Net: "unixpacket"})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	join("threads")

	// What is no listener, and more than one descriptor.
	null, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	for _, fds := range [][]int{nil, {int(null.Fd())}, {int(null.Fd()), int(null.Fd())}} {
		for range 100 {
			c := dial()
			c.WriteMsgUnix([]byte{0}, unix.UnixRights(fds...), nil)
			c.Read(make([]byte, 1)) // the answer, or the end
			c.Close()
		}
	}
	// A request of 2 GB: the server hangs up long before that.
	c := dial()
	c.Write([]byte{joinControl})
	c.Read(make([]byte, 1))
	piece := append([]byte{pieceMore}, make([]byte, pieceSize)...)
	sent := 0
	for ; sent < 2<<30; sent += pieceSize {
		if _, err := c.Write(piece); err != nil {
			break
		}
	}
	if c.Close(); sent > 2*maxRequest {
		t.Errorf("%d bytes of a request were taken", sent)
	}
	open := func() int {
		list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", server.Process.Pid))
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	join("threads")
	few := open()
	if few > 40 {
		t.Errorf("the server holds %d descriptors", few)
	}

	// Now there are few.
	lim := unix.Rlimit{Cur: uint64(few) + 16, Max: uint64(few) + 16}
	if err := unix.Prlimit(server.Process.Pid, unix.RLIMIT_NOFILE, &lim, nil); err != nil {
		t.Fatal(err)
	}
	join("hoards")
	var mute []*net.UnixConn
	for range 40 { // those that do not fit wait to be let in
		mute = append(mute, dial())
	}
	for _, c := range mute {
		c.Close()
	}
	for range 1000 { // until it has seen them go
		if open() <= few {
			break
		}
		time.Sleep(time.Millisecond)
	}
	join("threads")
}

// A 32-bit program is told that there is no bpf(2), and why.
func TestCompat(t *testing.T) {
	oracle.Need(t, "interception of system calls", Available())
	if runtime.GOARCH != "amd64" {
		t.Skip("the program is an i386's")
	}
	path := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(path, compatProgram(), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := exec.Command(path).Run(); errors.Is(err, unix.ENOEXEC) {
		oracle.Need(t, "a kernel that runs 32-bit programs", err)
	}
	var errs said
	sys, done, err := NewSystem(MachineOptions{}, &errs)
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	code, err := Exec(&Options{System: sys, Caps: bpfsys.AllCaps, Args: []string{path}, Stderr: os.Stderr})
	if err != nil || code != int(unix.ENOSYS) || !strings.Contains(errs.String(), "32-bit") {
		t.Errorf("exit code %d, %v: %s", code, err, errs.String())
	}
}

// compatProgram is an i386 ELF file: exit(-bpf(BPF_MAP_CREATE, NULL, 0)).
func compatProgram() []byte {
	code := []byte{
		0xb8, 0x65, 0x01, 0, 0, // mov eax, 357
		0x31, 0xdb, 0x31, 0xc9, 0x31, 0xd2, // xor ebx, ebx; xor ecx, ecx; xor edx, edx
		0xcd, 0x80, // int 0x80
		0xf7, 0xd8, 0x89, 0xc3, // neg eax; mov ebx, eax
		0xb8, 1, 0, 0, 0, 0xcd, 0x80, // exit
	}
	const base, head = 0x8048000, 52 + 32
	le := binary.LittleEndian
	b := append([]byte("\x7fELF\x01\x01\x01"), make([]byte, 9)...)
	b = le.AppendUint32(b, 2|3<<16) // executable, i386
	for _, w := range []uint32{1, base + head, 52, 0, 0} {
		b = le.AppendUint32(b, w)
	}
	for _, h := range []uint16{52, 32, 1, 40, 0, 0} {
		b = le.AppendUint16(b, h)
	}
	size := uint32(head + len(code))
	for _, w := range []uint32{1, 0, base, base, size, size, 5, 4096} { // one segment to load
		b = le.AppendUint32(b, w)
	}
	return append(b, code...)
}

// A program that is set to another user runs without that: served programs gain no rights.
func TestSetuid(t *testing.T) {
	oracle.Need(t, "interception of system calls", Available())
	if os.Getuid() != 0 {
		oracle.Need(t, "root's programs", os.ErrPermission)
	}
	dir, err := os.MkdirTemp("", "skep-setuid-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	os.Chmod(dir, 0o755)
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "program")
	if err := os.WriteFile(path, self, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o755|os.ModeSetuid); err != nil {
		t.Fatal(err)
	}
	const nobody = 65534
	as := func(program, client string, env ...string) string {
		cmd := exec.Command(program)
		cmd.Dir = "/"
		cmd.Env = append(append(os.Environ(), "SERVE_CLIENT="+client), env...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v: %s", client, err, out)
		}
		return string(out)
	}
	if who := as(path, "whoami"); who != "0" {
		oracle.Need(t, "programs that are set to another user", fmt.Errorf("they run as %s", who))
	}
	if who := as("/proc/self/exe", "servesWhoami", "PROGRAM="+path); who != strconv.Itoa(nobody) {
		t.Errorf("a served program runs as user %q", who)
	}
}
