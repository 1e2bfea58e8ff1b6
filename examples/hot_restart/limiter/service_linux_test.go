package main

import (
	"bufio"
	"context"
	"fmt"
	"math"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const limiterEnv = "LIMITER_CONTROL"

// TestMain is also the service: the test starts itself for it.
func TestMain(m *testing.M) {
	if control := os.Getenv(limiterEnv); control != "" {
		if err := run(context.Background(), "127.0.0.1:0", control, math.MaxUint64); err != nil && err != context.Canceled {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// process is one process of the service.
type process struct {
	cmd   *exec.Cmd
	lines *bufio.Scanner
}

func launch(t *testing.T, control string) *process {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{cmd: exec.Command(exe)}
	p.cmd.Env = append(os.Environ(), limiterEnv+"="+control)
	out, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.lines = bufio.NewScanner(out)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.cmd.Process.Kill(); p.cmd.Wait() })
	return p
}

// says waits for a line that has the words, and returns its last.
func (p *process) says(t *testing.T, words string) string {
	t.Helper()
	for p.lines.Scan() {
		if f := strings.Fields(p.lines.Text()); strings.Contains(p.lines.Text(), words) {
			return f[len(f)-1]
		}
	}
	t.Fatalf("the process ended and never said %q", words)
	return ""
}

// Requests go on while one process takes over from the other, three times; each is answered, and none is counted
// twice or forgotten.
func TestNoRequestIsLost(t *testing.T) {
	control := filepath.Join(t.TempDir(), "control")
	now := launch(t, control)
	addr := now.says(t, " serves ")
	conn, err := net.Dial("udp4", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	count := 0
	buf := make([]byte, 100)
	request := func() (pid int) {
		t.Helper()
		count++
		conn.SetDeadline(time.Now().Add(time.Minute))
		if _, err := conn.Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
		n, err := conn.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		var got int
		if _, err := fmt.Sscan(string(buf[:n]), &pid, &got); err != nil || got != count {
			t.Fatalf("request %d was answered %q", count, buf[:n])
		}
		return pid
	}
	for range 20 {
		if request() != now.cmd.Process.Pid {
			t.Fatal("another process answered")
		}
	}
	if who := now.says(t, " new client, "); who != "127.0.0.1" {
		t.Errorf("the new client is %s", who)
	}
	for range 3 {
		next := launch(t, control)
		gone := make(chan error, 1)
		go func() { gone <- now.cmd.Wait() }()
		for done := false; !done; {
			request()
			select {
			case err := <-gone:
				if err != nil {
					t.Fatalf("the old process ended by %v", err)
				}
				done = true
			default:
			}
		}
		if at := next.says(t, " goes on at "); at != addr {
			t.Errorf("the next process is at %s, not %s", at, addr)
		}
		for range 20 {
			if request() != next.cmd.Process.Pid {
				t.Fatal("another process answered")
			}
		}
		now = next
	}
}
