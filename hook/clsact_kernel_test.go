//go:build linux

package hook_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/skep-bpf/skep/hook"
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/oracle"
	"github.com/skep-bpf/skep/internal/oracle/netns"
	"github.com/skep-bpf/skep/internal/testprog"
)

// verdicts are programs that add to the packet's mark, and return one of two
// values by what it is then: what one has left behind, the next goes by.
type verdict struct {
	add       int32
	even, odd int32
}

func (v verdict) text() string {
	return fmt.Sprintf(`r6 = *(u32 *)(r1 + 8)
r6 += %d
*(u32 *)(r1 + 8) = r6
r0 = %d
r6 &= 1
if r6 == 0 goto out
r0 = %d
out:
exit`, v.add, v.even, v.odd)
}

func (v verdict) spec() *ebpf.ProgramSpec {
	return &ebpf.ProgramSpec{Type: ebpf.SchedCLS, License: "GPL", Instructions: asm.Instructions{
		asm.LoadMem(asm.R6, asm.R1, 8, asm.Word),
		asm.Add.Imm(asm.R6, v.add),
		asm.StoreMem(asm.R1, 8, asm.R6, asm.Word),
		asm.Mov.Imm(asm.R0, v.even),
		asm.And.Imm(asm.R6, 1),
		asm.JEq.Imm(asm.R6, 0, "out"),
		asm.Mov.Imm(asm.R0, v.odd),
		asm.Return().WithSymbol("out"),
	}}
}

// TestClsactAsTheKernel sends frames through links and filters drawn by chance on
// their way out of a tap device, and asks whether they come out.
func TestClsactAsTheKernel(t *testing.T) {
	tc := oracle.Tool(t, "tc")
	netns.In(t, func() {
		netns.BPFFS(t)
		tap, index := netns.TAP(t, "skep0", unix.O_NONBLOCK)
		sock, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		oracle.Need(t, "a packet socket", err)
		defer unix.Close(sock)
		if err := unix.Bind(sock, &unix.SockaddrLinklayer{Ifindex: index}); err != nil {
			t.Error(err)
			return
		}
		k := kernelClsact{t: t, tc: tc, tap: tap, sock: sock, index: index}
		r := rand.New(rand.NewPCG(4, 2))
		passed := 0
		for n := range 60 {
			if t.Failed() {
				return
			}
			if k.compare(n, r) {
				passed++
			}
		}
		if passed < 10 || passed > 50 {
			t.Errorf("%d of 60 passed: they say little", passed)
		}
	})
}

type kernelClsact struct {
	t         *testing.T
	tc        string
	tap, sock int
	index     int
}

// frameOut is a frame of a protocol of its own, so that nothing else on the device is
// taken for it.
func frameOut() []byte {
	f := packet()
	f[12], f[13] = 0x88, 0xb5
	return f
}

// compare draws links and filters and says whether a frame passes them.
func (k *kernelClsact) compare(n int, r *rand.Rand) bool {
	t := k.t
	pick := func(v ...int32) int32 { return v[r.IntN(len(v))] }
	draw := func(values ...int32) verdict { return verdict{int32(r.IntN(3)), pick(values...), pick(values...)} }
	const next = -1
	var progs []testprog.Prog
	var specs []*ebpf.ProgramSpec
	add := func(v verdict) string {
		name := fmt.Sprintf("p%d", len(progs))
		progs = append(progs, testprog.Prog{Name: name, Type: catalog.ProgSchedCls, Text: v.text()})
		specs = append(specs, v.spec())
		return name
	}
	links := 0
	for ; links < r.IntN(3); links++ {
		add(draw(next, next, next, 0, 2, 5, 100))
	}
	filters := make([]hook.Filter, 1+r.IntN(3))
	for i := range filters {
		f := &filters[i]
		f.Priority = uint16(1 + r.IntN(3))
		f.Handle = uint32(1 + i)
		if f.Direct = r.IntN(3) > 0; f.Direct {
			add(draw(next, next, 0, 1, 2, 3, 4, 7, 8, 9, 100))
		} else {
			add(draw(0, 0, next, 0x10001))
		}
		f.Protocol = []uint16{0x88b5, hook.ProtocolAll, 0x0800}[f.Priority-1]
	}

	// In the kernel.
	batch := "qdisc replace dev skep0 clsact\n"
	var attached []link.Link
	defer func() {
		for _, l := range attached {
			l.Close()
		}
		k.batch("qdisc del dev skep0 clsact\n")
	}()
	for i, spec := range specs {
		p, err := ebpf.NewProgram(spec)
		oracle.Need(t, "bpf(2)", err)
		defer p.Close()
		if i < links {
			l, err := link.AttachTCX(link.TCXOptions{Interface: k.index, Program: p, Attach: ebpf.AttachTCXEgress})
			oracle.Need(t, "tcx", err)
			attached = append(attached, l)
			continue
		}
		pin := fmt.Sprintf("/sys/fs/bpf/p%d", i)
		if err := p.Pin(pin); err != nil {
			t.Error(err)
			return false
		}
		defer p.Unpin()
		f := filters[i-links]
		proto := map[uint16]string{0x88b5: "0x88b5", hook.ProtocolAll: "all", 0x0800: "ip"}[f.Protocol]
		mode := "classid 1:5"
		if f.Direct {
			mode = "direct-action"
		}
		batch += fmt.Sprintf("filter add dev skep0 egress protocol %s prio %d handle %d bpf %s object-pinned %s\n", proto, f.Priority, f.Handle, mode, pin)
	}
	if !k.batch(batch) {
		return false
	}
	for buf := make([]byte, 2048); ; { // what came before
		if _, err := unix.Read(k.tap, buf); err != nil {
			break
		}
	}
	if _, err := unix.Write(k.sock, frameOut()); err != nil && !errors.Is(err, unix.ENOBUFS) { // how a drop is told
		t.Error(err)
		return false
	}
	passes := false
	for buf := make([]byte, 2048); ; {
		got, err := unix.Read(k.tap, buf)
		if err != nil {
			break
		}
		passes = passes || got >= 14 && buf[12] == 0x88 && buf[13] == 0xb5
	}

	// Here.
	m, coll := setup(t, nil, progs...)
	c, err := hook.NewClsact(m, &hook.TCOptions{Egress: true})
	if err != nil {
		t.Error(err)
		return false
	}
	defer c.Close()
	for i := range links {
		if err := c.AttachTCX(coll.Programs[progs[i].Name], i); err != nil {
			t.Error(err)
		}
	}
	for i, f := range filters {
		f.Program, f.ClassID = coll.Programs[progs[links+i].Name], 0x10005
		if _, err := c.Add(f); err != nil {
			t.Error(err)
		}
	}
	res, err := c.Run(frameOut(), hook.Meta{Ifindex: 2})
	if err != nil {
		t.Error(err)
	}
	if ours := len(res.Deliveries) > 0; ours != passes {
		t.Errorf("case %d: passes here %v (%v), in the kernel %v\n%d links; %s", n, ours, res.Action, passes, links, batch)
		for i, p := range progs {
			t.Logf("%d: %s", i, strings.ReplaceAll(p.Text, "\n", "; "))
		}
	}
	return passes
}

func (k *kernelClsact) batch(text string) bool {
	cmd := exec.Command(k.tc, "-batch", "-")
	cmd.Stdin = strings.NewReader(text)
	if out, err := cmd.CombinedOutput(); err != nil {
		k.t.Errorf("tc: %v %s\n%s", err, out, text)
		return false
	}
	return true
}
