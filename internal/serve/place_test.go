//go:build linux && (amd64 || arm64)

package serve

import (
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

func init() {
	// places attaches to a network namespace, to netfilter and to instructions of a file, and asks what is there.
	clients["places"] = func() error {
		load := func(t ebpf.ProgramType, at ebpf.AttachType) (*ebpf.Program, error) {
			return ebpf.NewProgram(&ebpf.ProgramSpec{Type: t, AttachType: at, License: "GPL", Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()}})
		}
		flow, err := load(ebpf.FlowDissector, ebpf.AttachFlowDissector)
		if err != nil {
			return err
		}
		ns, err := os.Open("/proc/self/ns/net")
		if err != nil {
			return err
		}
		raw := link.RawAttachProgramOptions{Program: flow, Attach: ebpf.AttachFlowDissector}
		if err := link.RawAttachProgram(raw); err != nil {
			return err
		}
		if err := link.RawAttachProgram(raw); !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("the same program twice: %w", err)
		}
		q, err := link.QueryPrograms(link.QueryOptions{Target: int(ns.Fd()), Attach: ebpf.AttachFlowDissector})
		if err != nil || len(q.Programs) != 1 {
			return fmt.Errorf("%v, %w", q, err)
		}
		if _, err := link.AttachNetNs(int(ns.Fd()), flow); !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("a link beside a program: %w", err)
		}
		if err := link.RawDetachProgram(link.RawDetachProgramOptions{Program: flow, Attach: ebpf.AttachFlowDissector}); err != nil {
			return err
		}
		nl, err := link.AttachNetNs(int(ns.Fd()), flow)
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Fstat(int(ns.Fd()), &st); err != nil {
			return err
		}
		if in, err := nl.Info(); err != nil || uint64(in.NetNs().NetnsInode) != st.Ino {
			return fmt.Errorf("network namespace %v, %w", in, err)
		}
		nf, err := load(ebpf.Netfilter, ebpf.AttachNetfilter)
		if err != nil {
			return err
		}
		o := link.NetfilterOptions{Program: nf, ProtocolFamily: link.NetfilterProtoIPv4, Hook: link.NetfilterInetLocalOut, Priority: -128}
		hook, err := link.AttachNetfilter(o)
		if err != nil {
			return err
		}
		if _, err := link.AttachNetfilter(o); !errors.Is(err, unix.EBUSY) {
			return fmt.Errorf("two programs at one priority: %w", err)
		}
		if err := hook.Close(); err != nil {
			return err
		}
		if hook, err = link.AttachNetfilter(o); err != nil {
			return err
		}
		hook.Close()
		up, err := load(ebpf.Kprobe, ebpf.AttachTraceUprobeMulti)
		if err != nil {
			return err
		}
		ex, err := link.OpenExecutable("/bin/sh")
		if err != nil {
			return err
		}
		if _, err := ex.UprobeMulti(nil, up, &link.UprobeMultiOptions{Addresses: []uint64{1 << 40}}); !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("beyond the end of a file: %w", err)
		}
		many, err := ex.UprobeMulti(nil, up, &link.UprobeMultiOptions{Addresses: []uint64{64, 128}, Cookies: []uint64{7, 9}})
		if err != nil {
			return err
		}
		in, err := many.Info()
		if err != nil {
			return err
		}
		offsets, ok := in.UprobeMulti().Offsets()
		if !ok || len(offsets) != 2 || offsets[1].Offset != 128 || offsets[1].Cookie != 9 {
			return fmt.Errorf("uprobes %v", offsets)
		}
		return many.Close()
	}
}

func TestPlaces(t *testing.T) {
	sys, code := serveClient(t, "places")
	if code != 0 {
		t.Errorf("exit code %d", code)
	}
	empty(t, sys)
}
