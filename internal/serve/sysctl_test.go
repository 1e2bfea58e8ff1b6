//go:build linux && (amd64 || arm64)

package serve

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"github.com/skep-bpf/skep/internal/bpfsys"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/oracle"
)

func init() {
	read := func(name string) string {
		b, err := os.ReadFile("/proc/sys/" + name)
		if err != nil {
			return err.Error()
		}
		return strings.TrimSpace(string(b))
	}
	// sysctls looks at settings, changes them, and sees what they do.
	clients["sysctls"] = func() error {
		p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.XDP, License: "GPL", Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 2), asm.Return()}})
		if err != nil {
			return err
		}
		timed := func() (bool, error) {
			if _, _, err := p.Test(make([]byte, 64)); err != nil {
				return false, err
			}
			st, err := p.Stats()
			return err == nil && st.RunCount != 0, err
		}
		if on, err := timed(); on || err != nil {
			return fmt.Errorf("runs are measured from the start: %w", err)
		}
		for _, set := range [][2]string{{"kernel/bpf_stats_enabled", "1\n"}, {"net/core/bpf_jit_harden", "2"}, {"kernel/unprivileged_bpf_disabled", "2"}} {
			name, value := set[0], set[1]
			if got := read(name); got != "0" {
				return fmt.Errorf("%s is %q, want 0", name, got)
			}
			if err := os.WriteFile("/proc/sys/"+name, []byte(value), 0); err != nil {
				return err
			}
			if got := read(name); got != strings.TrimSpace(value) {
				return fmt.Errorf("%s is %q after %q was written", name, got, value)
			}
		}
		if on, err := timed(); !on || err != nil {
			return fmt.Errorf("runs are not measured: %w", err)
		}
		for _, bad := range [][3]string{{"kernel/bpf_stats_enabled", "7", "1"}, {"net/core/bpf_jit_harden", "x", "2"}} {
			os.WriteFile("/proc/sys/"+bad[0], []byte(bad[1]), 0)
			if got := read(bad[0]); got != bad[2] {
				return fmt.Errorf("%s is %q after %q was written", bad[0], got, bad[1])
			}
		}
		os.WriteFile("/proc/sys/kernel/unprivileged_bpf_disabled", []byte("1"), 0)
		os.WriteFile("/proc/sys/kernel/unprivileged_bpf_disabled", []byte("0"), 0) // no way back
		if got := read("kernel/unprivileged_bpf_disabled"); got != "1" {
			return fmt.Errorf("unprivileged_bpf_disabled is %q, and was 1", got)
		}
		return nil
	}
	// governed has no capabilities.
	clients["governed"] = func() error {
		for _, name := range []string{"kernel/bpf_stats_enabled", "net/core/bpf_jit_harden"} {
			if err := os.WriteFile("/proc/sys/"+name, []byte("1"), 0); !errors.Is(err, os.ErrPermission) {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
		if _, err := os.ReadFile("/proc/sys/net/core/bpf_jit_harden"); !errors.Is(err, os.ErrPermission) {
			return fmt.Errorf("what is root's can be read: %w", err)
		}
		if got := read("kernel/unprivileged_bpf_disabled"); got != os.Getenv("WANT") {
			return fmt.Errorf("unprivileged_bpf_disabled is %q", got)
		}
		m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1})
		if err == nil {
			m.Close()
		}
		if (err == nil) != (os.Getenv("WANT") == "0") || err != nil && !errors.Is(err, os.ErrPermission) {
			return fmt.Errorf("a map: %w", err)
		}
		return nil
	}
}

func TestSysctls(t *testing.T) {
	oracle.Need(t, "interception of system calls", Available())
	for _, c := range []struct {
		client string
		caps   bpfsys.Caps
		set    []string
		want   string // value of unprivileged_bpf_disabled
		told   string
	}{
		{"sysctls", bpfsys.AllCaps, nil, "", `kernel.bpf_stats_enabled = "7"`},
		{"governed", 0, nil, "0", ""},
		{"governed", 0, []string{"kernel.unprivileged_bpf_disabled=1"}, "1", ""},
		{"governed", 0, []string{"kernel/unprivileged_bpf_disabled = 2"}, "2", ""},
	} {
		var errs, told bytes.Buffer
		sys, done, err := NewSystem(MachineOptions{Sysctl: c.set}, &told)
		if err != nil {
			t.Fatal(err)
		}
		code, err := Exec(&Options{System: sys, Caps: c.caps, Args: []string{"/proc/self/exe"},
			Env: append(os.Environ(), "SERVE_CLIENT="+c.client, "WANT="+c.want), Stdout: os.Stdout, Stderr: &errs})
		if err != nil || code != 0 || !strings.Contains(told.String(), c.told) {
			t.Errorf("%s %v: exit code %d, %v: %s", c.client, c.set, code, err, errs.String()+told.String())
		}
		done()
	}
	for _, bad := range []string{"net.core.bpf_jit_enable=3", "kernel.panic=1", "net.core.bpf_jit_harden", ""} {
		if _, _, err := NewSystem(MachineOptions{Sysctl: []string{bad}}, os.Stderr); err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("--sysctl %q: %v", bad, err)
		}
	}
	sys, done, err := NewSystem(MachineOptions{Sysctl: []string{"net.core.bpf_jit_enable=0"}}, os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	row := bpfsys.SysctlByName("net.core.bpf_jit_enable")
	if sys.Machine().Native() || sys.Sysctl(row) != 0 {
		t.Error("bpf_jit_enable=0 runs native code")
	}
	if e := sys.SetSysctl(row, "1", bpfsys.AllCaps); e != errno.EINVAL {
		t.Errorf("native code for a machine that was made without: %v", e)
	}
	if sys, done, err = NewSystem(MachineOptions{}, os.Stderr); err != nil {
		t.Fatal(err)
	}
	defer done()
	if n := sys.Sysctl(row); (n == 1) != sys.Machine().Native() {
		t.Errorf("bpf_jit_enable is %d", n)
	}
}
