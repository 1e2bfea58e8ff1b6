//go:build linux && (amd64 || arm64)

package serve

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/skep-bpf/skep/internal/bpfsys"
	"github.com/skep-bpf/skep/internal/oracle"
)

// A light skeleton, whose loader is a BPF program, loads, attaches and runs under skep as on the kernel, with the
// same descriptors, and fails with the same errors.
func TestLightSkeleton(t *testing.T) {
	oracle.Need(t, "interception of system calls", Available())
	dir := t.TempDir()
	object, program := filepath.Join(dir, "lskel.bpf.o"), filepath.Join(dir, "lskel")
	arch := map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[runtime.GOARCH]
	build := func(out string, args ...string) {
		t.Helper()
		cmd := exec.Command(args[0], args[1:]...)
		var text, errs bytes.Buffer
		cmd.Stdout, cmd.Stderr = &text, &errs
		err := cmd.Run()
		if err != nil {
			err = fmt.Errorf("%w: %s", err, errs.String())
		} else if out != "" {
			err = os.WriteFile(filepath.Join(dir, out), text.Bytes(), 0o600)
		}
		oracle.Need(t, "bpftool, libbpf and what builds programs on it", err)
	}
	bpftool := "bpftool"
	if _, err := exec.LookPath(bpftool); err != nil {
		bpftool = "/usr/sbin/bpftool" // which is not everybody's to find
	}
	build("", "clang-19", "-O2", "-g", "-target", "bpf", "-I/usr/include/"+arch+"-linux-gnu", "-c", "testdata/lskel.bpf.c", "-o", object)
	build("lskel.lskel.h", bpftool, "gen", "skeleton", "-L", object)
	build("", "cc", "-O1", "-w", "-I"+dir, "-o", program, "testdata/lskel.c")
	want, err := exec.Command(program).CombinedOutput()
	if os.Getuid() != 0 {
		err = os.ErrPermission
	}
	oracle.Need(t, "the live kernel's bpf(2)", err)
	if !strings.Contains(string(want), "\nrun: 0, 2, total 142\n") || !strings.HasSuffix(string(want), "\nafter failures:\n") {
		t.Fatalf("on the kernel:\n%s", want)
	}
	for _, o := range []MachineOptions{{}, {Checked: true}} {
		var out, told bytes.Buffer
		sys, done, err := NewSystem(o, &told)
		if err != nil {
			t.Fatal(err)
		}
		code, err := Exec(&Options{System: sys, Caps: bpfsys.AllCaps, Args: []string{program}, Stdout: &out, Stderr: os.Stderr})
		if code != 0 || err != nil {
			t.Errorf("exit code %d, %v: %s", code, err, told.String())
		}
		if out.String() != string(want) {
			t.Errorf("skep:\n%s\nlinux:\n%s", out.String(), want)
		}
		empty(t, sys)
		done()
	}
}
