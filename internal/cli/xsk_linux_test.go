package cli

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/google/go-cmp/cmp"

	"github.com/skep-bpf/skep/internal/oracle"
	"github.com/skep-bpf/skep/internal/oracle/netns"
	"github.com/skep-bpf/skep/xsk"
)

// xskClient sends frames from one end of a pair of interfaces to the other, by package xsk on the kernel's sockets. It
// prints what came, and how fast where the environment asks for that.
func xskClient() error {
	xsks, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.XSKMap, KeySize: 4, ValueSize: 4, MaxEntries: 1})
	if err != nil {
		return err
	}
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.XDP, License: "GPL", Instructions: asm.Instructions{
		asm.LoadMapPtr(asm.R1, xsks.FD()), asm.Mov.Imm(asm.R2, 0), asm.Mov.Imm(asm.R3, 1), asm.FnRedirectMap.Call(), asm.Return(),
	}})
	if err != nil {
		return err
	}
	from, err := xsk.OpenInterface("lf0", 0, &xsk.Options{Flags: xsk.Copy})
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := xsk.OpenInterface("lf1", 0, &xsk.Options{Flags: xsk.Copy})
	if err != nil {
		return err
	}
	defer to.Close()
	if err := xsks.Put(uint32(0), to); err != nil {
		return err
	}
	iface, err := net.InterfaceByName("lf1")
	if err != nil {
		return err
	}
	l, err := link.AttachXDP(link.XDPOptions{Program: prog, Interface: iface.Index})
	if err != nil {
		return err
	}
	defer l.Close()
	const total = 20000
	start := time.Now()
	sent, got, sum := 0, 0, 0
	out, in := make([]xsk.Frame, 32), make([]xsk.Frame, 32)
	to.SetDeadline(start.Add(20 * time.Second))
	for got < total {
		if sent == got {
			n := from.Alloc(out[:min(len(out), total-sent)])
			for i := range n {
				d := out[i].Data[:60+(sent+i)%1000]
				copy(d, []byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x88, 0xb5})
				d[14], d[len(d)-1] = byte(sent+i), byte(sent+i)>>1
				out[i].Data = d
			}
			done, err := from.Transmit(out[:n])
			if err != nil {
				return err
			}
			from.Free(out[done:n]...)
			sent += done
		}
		n, err := to.Receive(in)
		if err != nil {
			return fmt.Errorf("after %d of %d: %w", got, sent, err)
		}
		for i, f := range in[:n] {
			if d := f.Data; len(d) != 60+(got+i)%1000 || d[14] != byte(got+i) || d[len(d)-1] != byte(got+i)>>1 {
				return fmt.Errorf("frame %d: % x", got+i, d)
			}
			sum += len(f.Data)
		}
		to.Free(in[:n]...)
		got += n
	}
	if os.Getenv("SKEP_TEST_SPEED") != "" {
		fmt.Fprintf(os.Stderr, "%.0f packets a second\n", total/time.Since(start).Seconds())
	}
	st, err := to.Statistics()
	fmt.Println(got, sum, st.RxDropped, err)
	return nil
}

func init() { clients["xsk"] = xskClient }

// TestXSKGo: a Go program on the kernel's AF_XDP sockets and interfaces does the same under skep exec, on devices of
// the same names and numbers.
func TestXSKGo(t *testing.T) {
	t.Setenv(clientEnv, "xsk")
	served(t)
	must(t, "ip link add lf0 type veth peer name lf1")
	must(t, "ip link set lf0 up")
	must(t, "ip link set lf1 up")
	netns.In(t, func() {
		netns.Pair(t, "lf0", "lf1", 1)
		cmd := exec.Command(self(t))
		cmd.Stderr = os.Stderr
		linux, err := cmd.Output()
		if err != nil {
			oracle.Need(t, "AF_XDP", err)
		}
		out, errs, code := skep("exec", "--", self(t))
		if code != 0 || out != string(linux) || out == "" {
			t.Errorf("%d: %q, linux %q", code, out, linux)
		}
		if errs != "" {
			t.Log(errs)
		}
	})
}

// TestXSKProgram: a program in C with AF_XDP sockets prints the same under skep exec as on the kernel.
func TestXSKProgram(t *testing.T) {
	program := filepath.Join(t.TempDir(), "xsk")
	out, err := exec.Command("cc", "-O1", "-w", "-o", program, "testdata/xsk.c", "-lbpf").CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, out)
	}
	oracle.Need(t, "libbpf and what builds programs on it", err)
	var linux string
	netns.In(t, func() {
		netns.Pair(t, "lf0", "lf1", 1)
		out, err := exec.Command(program, fmt.Sprint(netns.Up(t, "lf0")), fmt.Sprint(netns.Up(t, "lf1"))).CombinedOutput()
		linux = string(out)
		if err != nil {
			oracle.Need(t, "AF_XDP", fmt.Errorf("%w: %s", err, out))
		}
	})
	served(t)
	must(t, "ip link add lf0 type veth peer name lf1")
	must(t, "ip link set lf0 up")
	must(t, "ip link set lf1 up")
	for range 2 { // nothing is left from one to the next
		out, errs, code := skep("exec", "--", program, "3", "2")
		if code != 0 {
			t.Errorf("%d %s", code, errs)
		}
		if diff := cmp.Diff(strings.Split(linux, "\n"), strings.Split(out, "\n")); diff != "" {
			t.Errorf("linux, skep: %s", diff)
		}
	}
}
