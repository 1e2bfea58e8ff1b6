//go:build linux

package catalog_test

import (
	"encoding/binary"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	. "github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/linux"
	"github.com/skep-bpf/skep/isa"
)

// withCaps calls f on a thread of its own that holds only the given capabilities.
func withCaps(t *testing.T, f func(), caps ...int) {
	t.Helper()
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var data [2]unix.CapUserData
		for _, c := range caps {
			data[c/32].Effective |= 1 << (c % 32)
			data[c/32].Permitted |= 1 << (c % 32)
		}
		if err = unix.Capset(&hdr, &data[0]); err == nil {
			f()
		}
	}()
	<-done
	if err != nil {
		t.Fatal(err)
	}
}

// A loader with CAP_BPF and CAP_NET_ADMIN alone gets the helpers that need no
// more, and the program types that do not need CAP_PERFMON.
func TestNeeds(t *testing.T) {
	needKernel(t)
	all := sites(t)
	withCaps(t, func() {
		for _, s := range all {
			_, ok, err := s.load(isa.Mov64Imm(isa.R0, s.exitCode()), isa.ExitInsn())
			if want := s.kind.Flags&Perfmon == 0; ok != want {
				t.Errorf("%v without CAP_PERFMON: %v, the row says %v", s, err, want)
			}
			for id := HelperID(1); ok && HelperByID(id) != nil; id++ {
				if absent[id] != "" {
					continue
				}
				log, ok, _ := s.load(isa.HelperCall(int32(id)), isa.Mov64Imm(isa.R0, s.exitCode()), isa.ExitInsn())
				may := ok || !strings.Contains(log, "cannot use helper")
				h := s.kind.Helper(id, s.attach)
				if want := h != nil && h.Needs <= NeedBPF; may != want {
					t.Errorf("%v: %v without CAP_PERFMON: the kernel says %v, the rows %v", s, id, may, want)
				}
			}
		}
	}, unix.CAP_BPF, unix.CAP_NET_ADMIN)
	withCaps(t, func() {
		for _, s := range all {
			if s.kind.Flags&Perfmon != 0 {
				continue
			}
			_, ok, err := s.load(isa.Mov64Imm(isa.R0, s.exitCode()), isa.ExitInsn())
			if want := s.kind.Flags&NetAdmin == 0; ok != want {
				t.Errorf("%v without CAP_NET_ADMIN: %v, the row says %v", s, err, want)
			}
		}
	}, unix.CAP_BPF)
}

// Calls that keep to the bpf_fastcall contract lose the spills around them; that
// is how the kernel shows which helpers do.
func TestFastCall(t *testing.T) {
	needKernel(t)
	asked := 0
	for _, s := range sites(t) {
		for id := HelperID(1); HelperByID(id) != nil; id++ {
			h := s.kind.Helper(id, s.attach)
			if h == nil || h.Args[0].Type != ArgNone || absent[id] != "" || h.Ret != RetInteger || h.Flags&MightSleep != 0 {
				continue
			}
			prog := isa.Program(
				isa.Mov64Imm(isa.R1, 1),
				isa.StoreMem(isa.DW, isa.RFP, isa.R1, -8),
				isa.HelperCall(int32(id)),
				isa.LoadMem(isa.DW, isa.R1, isa.RFP, -8),
				isa.Mov64Imm(isa.R0, s.exitCode()),
				isa.ExitInsn())
			lp, err := linux.Load(&linux.Prog{
				Type: s.kind.Type, Attach: s.attach, AttachBTFID: s.btfID, Flags: s.flags, Insns: prog, License: "GPL",
			})
			if err != nil {
				t.Fatalf("%v: %v: %v", s, id, err)
			}
			info, err := lp.Info()
			lp.Close()
			if err != nil {
				t.Fatal(err)
			}
			spills := 0
			insns, err := isa.Decode(info.Xlated, binary.NativeEndian)
			if err != nil || len(insns) == 0 {
				t.Fatalf("%v: %v: rewritten program: %v", s, id, err)
			}
			for _, ins := range insns {
				if ins == prog[1] || ins == prog[3] {
					spills++
				}
			}
			if fast := spills == 0; fast != (h.Flags&FastCall != 0) {
				t.Errorf("%v: %v: fast to the kernel: %v, by the row: %v", s, id, fast, !fast)
			}
			asked++
		}
	}
	t.Logf("%d calls", asked)
}
