//go:build linux && (amd64 || arm64)

package serve

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/skep-bpf/skep/internal/bpfsys"
	"github.com/skep-bpf/skep/internal/oracle"
)

// A program built on libbpf, in C, prints the same under skep as on the kernel: maps, batches, global
// data, test runs, ring and perf buffers, links, pins, control groups, types, probes.
func TestLibbpf(t *testing.T) {
	oracle.Need(t, "interception of system calls", Available())
	dir := t.TempDir()
	object, program := filepath.Join(dir, "libbpf.bpf.o"), filepath.Join(dir, "libbpf")
	arch := map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[runtime.GOARCH]
	for _, c := range [][]string{
		{"clang-19", "-O2", "-g", "-target", "bpf", "-I/usr/include/" + arch + "-linux-gnu", "-c", "testdata/libbpf.bpf.c", "-o", object},
		{"cc", "-O1", "-w", "-o", program, "testdata/libbpf.c", "-lbpf"},
	} {
		out, err := exec.Command(c[0], c[1:]...).CombinedOutput()
		if err != nil {
			err = fmt.Errorf("%w: %s", err, out)
		}
		oracle.Need(t, "libbpf and what builds programs on it", err)
	}
	args := []string{program, object}
	g, err := newCgroups(filepath.Join(dir, "unused"))
	if err == nil && g.mount != "" {
		args = append(args, g.mount)
	}
	native := exec.Command(args[0], args[1:]...)
	native.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET} // it attaches to the loopback device
	want, err := native.CombinedOutput()
	if os.Getuid() != 0 {
		err = os.ErrPermission
	}
	oracle.Need(t, "the live kernel's bpf(2)", err)
	if last := "\n1 1 1\n"; !strings.HasSuffix(string(want), last) {
		t.Fatalf("on the kernel:\n%s", want)
	}
	var out, told bytes.Buffer
	sys, done, err := NewSystem(MachineOptions{}, &told)
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	code, err := Exec(&Options{System: sys, Caps: bpfsys.AllCaps, Args: args, Stdout: &out, Stderr: os.Stderr})
	if code != 0 || err != nil {
		t.Errorf("exit code %d, %v: %s", code, err, told.String())
	}
	if byRing(out.String()) != byRing(string(want)) {
		t.Errorf("skep:\n%s\nlinux:\n%s", out.String(), want)
	}
	empty(t, sys)
}

// byRing sorts what came out of perf buffers: there is one for each CPU, and which
// CPUs the runs were on is chance.
func byRing(out string) string {
	lines := strings.Split(out, "\n")
	isSample := func(line string) bool { return strings.HasPrefix(line, "sample of ") }
	if i := slices.IndexFunc(lines, isSample); i >= 0 {
		j := i
		for j < len(lines) && isSample(lines[j]) {
			j++
		}
		slices.Sort(lines[i:j])
	}
	return strings.Join(lines, "\n")
}
