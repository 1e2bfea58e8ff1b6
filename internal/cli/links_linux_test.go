package cli

import (
	"context"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"

	"github.com/skep-bpf/skep/internal/rtnl"
	"github.com/skep-bpf/skep/internal/serve"
)

// returning is a program that returns a value.
func returning(t ebpf.ProgramType, v int32) (*ebpf.Program, error) {
	return ebpf.NewProgram(&ebpf.ProgramSpec{Type: t, License: "GPL", Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, v), asm.Return()}})
}

func init() {
	// links attaches to devices by links that stay, as they have names.
	clients["links"] = func() error {
		xdp, err := returning(ebpf.XDP, 1)
		if err != nil {
			return err
		}
		l, err := link.AttachXDP(link.XDPOptions{Program: xdp, Interface: 2})
		if err != nil {
			return err
		}
		if err := l.Pin("/sys/fs/bpf/xdp-link"); err != nil {
			return err
		}
		next, err := returning(ebpf.SchedCLS, -1)
		if err != nil {
			return err
		}
		drop, err := returning(ebpf.SchedCLS, 2)
		if err != nil {
			return err
		}
		for name, p := range map[string]*ebpf.Program{"next": next, "drop": drop} {
			l, err := link.AttachTCX(link.TCXOptions{Program: p, Interface: 3, Attach: ebpf.AttachTCXIngress, Anchor: link.Tail()})
			if err != nil {
				return err
			}
			if err := l.Pin("/sys/fs/bpf/tcx-" + name); err != nil {
				return err
			}
		}
		return nil
	}
	// unlink takes one away by removing its name.
	clients["unlink"] = func() error { return os.Remove("/sys/fs/bpf/xdp-link") }
}

func client(t *testing.T, name string) {
	t.Helper()
	t.Setenv(clientEnv, name)
	if _, errs, code := skep("exec", "--", "/proc/self/exe"); code != 0 {
		t.Fatalf("%s: %d %s", name, code, errs)
	}
	os.Unsetenv(clientEnv)
}

// devices lists what the machine has, by name.
func devices(t *testing.T) map[string]rtnl.Link {
	t.Helper()
	all := map[string]rtnl.Link{}
	err := serve.Ask(context.Background(), os.Getenv(serve.MachineEnv), rtnl.VerbLinkList, rtnl.Named{}, nil, func(raw json.RawMessage) error {
		l, err := rtnl.Decode[rtnl.Link](raw)
		all[l.Name] = l
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// received waits until a capture's device has received all.
func received(t *testing.T, name string) rtnl.Link {
	t.Helper()
	must(t, "ip link set %s up", name)
	for {
		if l := devices(t)[name]; l.Ended {
			return l
		}
	}
}

// TestLinksFire: programs of other processes that are attached by bpf(2) links
// run on what a machine's devices receive.
func TestLinksFire(t *testing.T) {
	served(t)
	must(t, "ip link add a type pcap in ../../examples/captures/web.pcap")
	must(t, "ip link add b type pcap in ../../examples/captures/web.pcap")
	client(t, "links")
	a, b := received(t, "a"), received(t, "b")
	if a.XDPMode != "xdp" || a.XDP == nil || a.XDP.Link == 0 || a.Stats.XDP["XDP_DROP"] != a.Stats.RxPackets || a.Stats.RxPackets == 0 {
		t.Errorf("a: %+v", a)
	}
	if len(b.TCX["ingress"]) != 2 || b.Stats.TC["ingress TC_ACT_SHOT"] != b.Stats.RxPackets || b.Stats.RxPackets == 0 {
		t.Errorf("b: %+v", b)
	}
	if out := must(t, "ip -d link show b"); strings.Count(out, "prog/tcx/ingress id") != 2 {
		t.Error(out)
	}
	if _, errs, code := skep("ip", "link", "set", "a", "xdp", "obj", "testdata/iproute/progs.o", "sec", "xdp"); code == 0 || !strings.Contains(errs, "link") {
		t.Errorf("a link's program is replaced: %d %s", code, errs)
	}
	client(t, "unlink")
	if l := devices(t)["a"]; l.XDP != nil {
		t.Errorf("a has %+v without its link", l.XDP)
	}
	must(t, "ip link set a xdp obj testdata/iproute/progs.o sec xdp")
	must(t, "ip link del b")
	if len(devices(t)) != 2 {
		t.Error(devices(t))
	}
}
