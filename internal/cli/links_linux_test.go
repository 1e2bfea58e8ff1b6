package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

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
	// netkit attaches three programs to a pair's primary device (3) and orders them.
	clients["netkit"] = func() error {
		attach := func(v int32, ifindex int, at ebpf.AttachType, a link.Anchor) (link.Link, error) {
			p, err := returning(ebpf.SchedCLS, v)
			if err != nil {
				return nil, err
			}
			return link.AttachNetkit(link.NetkitOptions{Program: p, Interface: ifindex, Attach: at, Anchor: a})
		}
		if _, err := attach(0, 2, ebpf.AttachNetkitPrimary, nil); !errors.Is(err, unix.EACCES) {
			return fmt.Errorf("to the peer: %w", err)
		}
		if _, err := attach(0, 1, ebpf.AttachNetkitPrimary, nil); !errors.Is(err, unix.ENXIO) {
			return fmt.Errorf("to the loopback device: %w", err)
		}
		if _, err := attach(0, 77, ebpf.AttachNetkitPrimary, nil); !errors.Is(err, unix.ENODEV) {
			return fmt.Errorf("to no device: %w", err)
		}
		pass, err := attach(0, 3, ebpf.AttachNetkitPrimary, nil)
		if err != nil {
			return err
		}
		drop, err := attach(2, 3, ebpf.AttachNetkitPrimary, link.BeforeLink(pass))
		if err != nil {
			return err
		}
		if _, err := attach(-1, 3, ebpf.AttachNetkitPrimary, link.AfterLink(pass)); err != nil {
			return err
		}
		peer, err := attach(2, 3, ebpf.AttachNetkitPeer, nil)
		if err != nil {
			return err
		}
		q, err := link.QueryPrograms(link.QueryOptions{Target: 3, Attach: ebpf.AttachNetkitPrimary})
		if err != nil {
			return err
		}
		info, err := drop.Info()
		if err != nil {
			return err
		}
		if id, ok := q.Programs[0].LinkID(); !ok || id != info.ID || len(q.Programs) != 3 {
			return fmt.Errorf("attached: %+v", q)
		}
		for name, l := range map[string]link.Link{"pass": pass, "drop": drop, "peer": peer} {
			if err := l.Pin("/sys/fs/bpf/nk-" + name); err != nil {
				return err
			}
		}
		return nil
	}
	// nodrop takes the first of them away, turn exchanges the other's program for one that drops.
	clients["nodrop"] = func() error { return os.Remove("/sys/fs/bpf/nk-drop") }
	clients["turn"] = func() error {
		l, err := link.LoadPinnedLink("/sys/fs/bpf/nk-pass", nil)
		if err != nil {
			return err
		}
		p, err := returning(ebpf.SchedCLS, 2)
		if err != nil {
			return err
		}
		return l.Update(p)
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

// TestNetkitLinks: programs attached to a netkit pair by links of another process
// decide what it sends, in their order, and exchanged while they are there.
func TestNetkitLinks(t *testing.T) {
	served(t)
	must(t, "ip link add nk0 type netkit peer nk1")
	must(t, "ip link set nk0 up")
	must(t, "ip link set nk1 up")
	sent := func(name string) (passed, dropped uint64) {
		before := devices(t)
		must(t, "ip link add %s type pcap in ../../examples/captures/web.pcap", name)
		must(t, "tc qdisc add dev %s clsact", name)
		must(t, "tc filter add dev %s ingress bpf bytecode '1,6 0 0 1' classid 1:1 action mirred egress redirect dev nk0", name)
		received(t, name)
		l := devices(t)
		return l["nk1"].Stats.RxPackets - before["nk1"].Stats.RxPackets, l["nk0"].Stats.TxDropped - before["nk0"].Stats.TxDropped
	}
	check := func(name string, wantPassed, wantDropped uint64) {
		t.Helper()
		if p, d := sent(name); p != wantPassed || d != wantDropped {
			t.Errorf("%s: %d pass and %d are dropped", name, p, d)
		}
	}
	check("without", 74, 0)
	client(t, "netkit")
	if out := must(t, "ip -d link show nk0"); strings.Count(out, "prog/netkit/primary id") != 2 || strings.Count(out, "prog/netkit/peer id") != 1 {
		t.Error(out)
	}
	check("dropping", 0, 74)
	client(t, "nodrop")
	check("passing", 74, 0)
	client(t, "turn")
	check("turned", 0, 74)
	must(t, "ip link del nk1") // links stay, attached to nothing
	must(t, "exec -- ls /sys/fs/bpf/nk-pass")
}

// TestTCActs: filters and their actions do what they say to packets, and the
// trace pipe has what programs print.
func TestTCActs(t *testing.T) {
	served(t)
	const capture = "../../examples/captures/web.pcap"
	dir := t.TempDir()
	must(t, "ip link add in type pcap in %s", capture)
	must(t, "ip link add out type pcap out %s/out.pcap", dir)
	must(t, "ip link add copy type pcap out %s/copy.pcap", dir)
	must(t, "ip link add w1 type veth peer name w2")
	for _, dev := range []string{"out", "copy", "w1", "w2"} {
		must(t, "ip link set %s up", dev)
	}
	must(t, "tc qdisc add dev in clsact")
	must(t, "tc qdisc add dev w1 clsact")
	must(t, "tc qdisc add dev w2 ingress")
	must(t, "tc filter add dev in ingress prio 1 bpf da obj ../../examples/tc_prio/tc_prio.o sec tc")
	must(t, "tc filter replace dev in ingress prio 1 handle 1 bpf da obj testdata/iproute/progs.o sec classifier")
	must(t, "tc filter add dev in ingress prio 2 bpf obj testdata/iproute/progs.o sec p2 classid 1:1 action mirred egress mirror dev copy action mirred egress redirect dev w1")
	must(t, "tc filter add dev w1 egress bpf da obj testdata/iproute/progs.o sec p1")
	must(t, "tc filter add dev w2 parent ffff: bpf obj testdata/iproute/progs.o sec p2 action mirred egress redirect dev out")
	in := received(t, "in")
	for devices(t)["out"].Stats.TxPackets < in.Stats.RxPackets {
	}
	if out := must(t, "tc -s filter show dev in ingress"); strings.Count(out, "22468 bytes 74 pkt") != 2 {
		t.Error(out)
	}
	must(t, "ip link del out")
	must(t, "ip link del copy")
	want, err := os.ReadFile(capture)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"out", "copy"} {
		got, err := os.ReadFile(dir + "/" + name + ".pcap")
		if err != nil {
			t.Fatal(err)
		}
		if len(got) != len(want) { // times differ
			t.Errorf("%s: %d bytes, the capture has %d", name, len(got), len(want))
		}
	}

	// What programs trace, and what they abort.
	must(t, "ip link add traced type pcap in %s", capture)
	must(t, "tc qdisc add dev traced clsact")
	must(t, "tc filter add dev traced ingress bpf da obj ../../examples/tc_prio/tc_prio.o sec tc")
	received(t, "traced")
	must(t, "ip link add aborted type pcap in %s", capture)
	must(t, "ip link set aborted xdpgeneric obj testdata/iproute/progs.o sec xdp/aborted")
	id := devices(t)["aborted"].XDP.ID
	received(t, "aborted")
	lines := traced(t)
	if len(lines) != 2*74 {
		t.Fatalf("%d lines", len(lines))
	}
	if !strings.Contains(lines[0].Format(1), "bpf_trace_printk: port ") {
		t.Errorf("%q", lines[0].Format(1))
	}
	if want := fmt.Sprintf("xdp_exception: prog_id=%d action=ABORTED ifindex=%d", id, devices(t)["aborted"].Index); !strings.HasSuffix(lines[147].Format(1), want) {
		t.Errorf("%q", lines[147].Format(1))
	}
}

// TestRefusedProgram: a program that the verifier refuses is told of in one line, with verbose
// after its log, and leaves nothing attached.
func TestRefusedProgram(t *testing.T) {
	served(t)
	must(t, "ip link add a type veth peer name b")
	const line = "ip link set a xdp obj ../../examples/refused/refused.o prog no_bounds_check"
	_, errs, code := skep(strings.Fields(line)...)
	if code != 1 || strings.Count(errs, "\n") != 1 || !strings.Contains(errs, "no_bounds_check") {
		t.Errorf("%d %s", code, errs)
	}
	_, long, code := skep(strings.Fields(line + " verbose")...)
	if code != 1 || !strings.HasSuffix(long, errs) || !strings.Contains(long, "processed ") {
		t.Errorf("%d %s", code, long)
	}
	if l := devices(t)["a"]; l.XDP != nil || l.XDPMode != "" {
		t.Errorf("%+v", l)
	}
}

// traced reads the machine's trace pipe.
func traced(t *testing.T) (lines []serve.TraceLine) {
	t.Helper()
	err := serve.Ask(context.Background(), os.Getenv(serve.MachineEnv), serve.TraceVerb, serve.TraceRequest{Now: true}, nil, func(raw json.RawMessage) error {
		r, err := rtnl.Decode[serve.TraceReply](raw)
		lines = append(lines, r.Lines...)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return lines
}
