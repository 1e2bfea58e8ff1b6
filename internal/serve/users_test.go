//go:build linux && (amd64 || arm64)

package serve

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/skep-bpf/skep/internal/bpfsys"
	"github.com/skep-bpf/skep/internal/oracle"
)

func init() {
	// joins runs a program on somebody's machine.
	clients["joins"] = func() error {
		code, err := Exec(&Options{Machine: os.Getenv("JOIN"), Caps: bpfsys.AllCaps, Args: []string{"true"},
			Env: []string{"PATH=" + os.Getenv("PATH")}, Stdout: os.Stdout, Stderr: os.Stderr})
		if err == nil && code != 0 {
			err = fmt.Errorf("exit code %d", code)
		}
		return err
	}
}

// A machine is its owner's: another user cannot reach the socket, and is turned away where its mode was changed.
func TestOtherUsers(t *testing.T) {
	oracle.Need(t, "interception of system calls", Available())
	if os.Getuid() != 0 {
		oracle.Need(t, "another user", os.ErrPermission)
	}
	dir, err := os.MkdirTemp("", "skep-users-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "machine")
	sys, done, err := NewSystem(MachineOptions{}, os.Stderr)
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
	defer func() {
		close(stop)
		<-ended
	}()
	join := func(uid uint32) string {
		cmd := exec.Command("/proc/self/exe")
		cmd.Dir = "/"
		cmd.Env = append(os.Environ(), "SERVE_CLIENT=joins", "JOIN="+path)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
		out, err := cmd.CombinedOutput()
		if err == nil {
			return ""
		}
		return string(out)
	}
	const nobody = 65534
	if said := join(nobody); !strings.Contains(said, "permission denied") {
		t.Errorf("another user: %q", said)
	}
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}
	for _, uid := range []uint32{nobody, 12345} {
		if said := join(uid); !strings.Contains(said, "another user's") {
			t.Errorf("user %d at an open socket: %q", uid, said)
		}
	}
	if said := join(0); said != "" {
		t.Errorf("the owner: %s", said)
	}
}
