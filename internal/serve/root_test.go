//go:build linux && (amd64 || arm64)

package serve

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/skep-bpf/skep/internal/bpfsys"
	"github.com/skep-bpf/skep/internal/oracle"
)

func init() {
	// rooted looks at who it is, and calls bpf(2).
	clients["rooted"] = func() error {
		m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1})
		if err != nil {
			return err
		}
		defer m.Close()
		if err := m.Pin("/sys/fs/bpf/m"); err != nil {
			return err
		}
		in, err := os.ReadDir("/run")
		if err != nil {
			return err
		}
		if err := os.WriteFile("/run/lock-of-ours", nil, 0o600); err != nil {
			return err
		}
		_, err = os.ReadFile("/etc/shadow")
		fmt.Println(os.Getuid(), os.Geteuid(), os.Getgid(), len(in), errors.Is(err, os.ErrPermission))
		return os.Remove("/sys/fs/bpf/m")
	}
	// nobody has itself served as root.
	clients["nobody"] = func() error {
		sys, done, err := NewSystem(MachineOptions{}, io.Discard)
		if err != nil {
			return err
		}
		defer done()
		env := append(os.Environ(), "SERVE_CLIENT=rooted")
		code, err := Exec(&Options{System: sys, Caps: bpfsys.AllCaps, Root: true, Args: []string{"/proc/self/exe"}, Env: env, Stdout: os.Stdout, Stderr: os.Stderr})
		if err == nil && code != 0 {
			err = fmt.Errorf("exit code %d", code)
		}
		return err
	}
}

// TestRoot: who wants to be root and is not is served all the same, with no more rights than before.
func TestRoot(t *testing.T) {
	oracle.Need(t, "interception of system calls", Available())
	probe := exec.Command("true")
	probe.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER}
	oracle.Need(t, "user namespaces", probe.Run())
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), "SERVE_CLIENT=nobody")
	cmd.Dir = "/"
	if os.Getuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %s", err, errs.String())
	}
	if want := "0 0 0 0 true"; strings.TrimSpace(out.String()) != want {
		t.Errorf("%s, want %s", out.String(), want)
	}
}
