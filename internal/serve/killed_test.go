//go:build linux && (amd64 || arm64)

package serve

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/skep-bpf/skep/internal/bpfsys"
	"github.com/skep-bpf/skep/internal/oracle"
)

func init() {
	// listens is a server, which says when programs may come.
	clients["listens"] = func() error {
		sys, done, err := NewSystem(MachineOptions{}, os.Stderr)
		if err != nil {
			return err
		}
		defer done()
		return Listen(&ListenOptions{System: sys, Path: os.Getenv("LISTEN"), Caps: bpfsys.AllCaps, Stop: make(chan struct{}), Ready: func() { fmt.Println("ready") }})
	}
	// orphaned has the server killed under it.
	clients["orphaned"] = func() error {
		spec := &ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1}
		m, err := ebpf.NewMap(spec)
		if err != nil {
			return err
		}
		fmt.Println("made") // now it is killed
		var line string
		if _, err := fmt.Scanln(&line); err != nil {
			return err
		}
		if err := m.Put(uint32(0), uint32(1)); !errors.Is(err, unix.ENOSYS) {
			return fmt.Errorf("update without a server: %w", err)
		}
		if err := os.Mkdir("/sys/fs/bpf/x", 0o700); err == nil {
			return errors.New("a directory was made where there is no file system")
		}
		return nil
	}
}

// A server that is killed leaves programs that run on with ENOSYS and a word why, no processes, and a socket that the next takes over.
func TestKilledServer(t *testing.T) {
	oracle.Need(t, "interception of system calls", Available())
	path := filepath.Join(t.TempDir(), "machine")
	start := func() (*exec.Cmd, error) {
		server := exec.Command("/proc/self/exe")
		server.Env = append(os.Environ(), "SERVE_CLIENT=listens", "LISTEN="+path)
		server.Stderr = os.Stderr
		out, err := server.StdoutPipe()
		if err != nil {
			return nil, err
		}
		if err := server.Start(); err != nil {
			return nil, err
		}
		_, err = bufio.NewReader(out).ReadString('\n')
		return server, err
	}
	server, err := start()
	if err != nil {
		t.Fatal(err)
	}
	theirIn, ourIn, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	ourOut, theirOut, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	told, err := os.Create(filepath.Join(t.TempDir(), "stderr")) // which both the program and Exec write
	if err != nil {
		t.Fatal(err)
	}
	defer told.Close()
	type end struct {
		code int
		err  error
	}
	ended := make(chan end)
	go func() {
		code, err := Exec(&Options{Machine: path, Caps: bpfsys.AllCaps, Args: []string{"/proc/self/exe"},
			Env: append(os.Environ(), "SERVE_CLIENT=orphaned"), Stdin: theirIn, Stdout: theirOut, Stderr: told})
		ended <- end{code, err}
	}()
	if line, err := bufio.NewReader(ourOut).ReadString('\n'); err != nil || line != "made\n" {
		t.Fatalf("%q, %v", line, err)
	}
	server.Process.Kill()
	server.Wait()
	fmt.Fprintln(ourIn, "go")
	e := <-ended
	if said, _ := os.ReadFile(told.Name()); e.err != nil || e.code != 0 || !strings.Contains(string(said), "is gone") {
		t.Errorf("exit code %d, %v: %s", e.code, e.err, said)
	}
	again, err := start()
	if err != nil {
		t.Fatalf("a server at the socket of one that was killed: %v", err)
	}
	again.Process.Kill()
	again.Wait()
}
