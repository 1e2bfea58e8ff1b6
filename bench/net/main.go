// Command net compares what a packet costs on its way over a pair of virtual
// devices, through a program that redirects it, here and in the Linux kernel:
//
//	generator ─▶ [program: redirect] ─▶ pair ─▶ [program: drop]
//
//	net [-rounds n] [-slice d] [-run regexp]
//
// The kernel's packets come from sendmmsg(2) on a packet socket, in a network namespace of
// the command's own, those here from a port that fills buffers. What making them
// costs is measured beside it, with a program that drops them at once, and taken off for the second figure.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"regexp"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"github.com/skep-bpf/skep/bench/measure"
)

func main() {
	rounds := flag.Int("rounds", 15, "interleaved rounds")
	slice := flag.Duration("slice", 50*time.Millisecond, "how long each contender runs in a round")
	only := flag.String("run", "", "only the workloads whose name matches this `regexp`")
	flag.Parse()
	if err := run(os.Stdout, *rounds, *slice, *only); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// A workload is a way from the first device to the last.
type workload struct {
	name string
	mode hookMode // where the program at the first device is
}

type hookMode int

const (
	xdpGeneric hookMode = iota
	xdpNative
	tc
)

var workloads = []workload{
	{"XDP redirect, generic", xdpGeneric},
	{"XDP redirect, native", xdpNative},
	{"tc redirect", tc},
}

// frame is what all packets are: 60 bytes of a protocol nobody listens to.
func frame() []byte {
	f := make([]byte, 60)
	copy(f, []byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x88, 0xb5})
	return f
}

const batch = 64

// programs are those of both engines; to is the index of the device redirects go to.
func programs(to int32) *ebpf.CollectionSpec {
	redirect := asm.Instructions{asm.Mov.Imm(asm.R1, to), asm.Mov.Imm(asm.R2, 0), asm.FnRedirect.Call(), asm.Return()}
	verdict := func(v int32) asm.Instructions {
		return asm.Instructions{asm.Mov.Imm(asm.R0, v), asm.Return()}
	}
	return &ebpf.CollectionSpec{Programs: map[string]*ebpf.ProgramSpec{
		"xdp_redirect": {Name: "xdp_redirect", Type: ebpf.XDP, License: "GPL", Instructions: redirect},
		"xdp_drop":     {Name: "xdp_drop", Type: ebpf.XDP, License: "GPL", Instructions: verdict(1)},
		"xdp_pass":     {Name: "xdp_pass", Type: ebpf.XDP, License: "GPL", Instructions: verdict(2)},
		"tc_redirect":  {Name: "tc_redirect", Type: ebpf.SchedCLS, License: "GPL", Instructions: redirect},
		"tc_drop":      {Name: "tc_drop", Type: ebpf.SchedCLS, License: "GPL", Instructions: verdict(2)},
	}}
}

// A way is a set of devices that packets can be sent through.
type way interface {
	// send sends n packets, all of which have arrived when it returns, and says what that took.
	send(n int) (time.Duration, error)
	close()
}

// An engine makes ways: the whole one, or with drop one that ends at the first device.
type engine func(mode hookMode, drop bool) (way, error)

func run(out io.Writer, rounds int, slice time.Duration, only string) error {
	match, err := regexp.Compile(only)
	if err != nil {
		return err
	}
	whole := measure.Table{Head: []string{"", "skep ÷ Linux", "less generator", "skep, M/s", "Linux, M/s"}}
	for _, w := range workloads {
		if !match.MatchString(w.name) {
			continue
		}
		var contenders []measure.Contender
		var ways []way
		for _, e := range []engine{newSkep, newLinux} {
			for _, drop := range []bool{false, true} {
				way, err := e(w.mode, drop)
				if err != nil {
					return fmt.Errorf("%s: %w", w.name, err)
				}
				ways = append(ways, way)
				contenders = append(contenders, func(n int) (time.Duration, error) {
					n = (n + batch - 1) / batch * batch
					return way.send(n)
				})
			}
		}
		ns, err := measure.Interleaved(contenders, rounds, slice)
		for _, w := range ways {
			w.close()
		}
		if err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
		less := func(a, b []float64) []float64 {
			d := make([]float64, len(a))
			for i := range a {
				d[i] = max(a[i]-b[i], 1)
			}
			return d
		}
		whole.Add(w.name, measure.Number(measure.Ratio(ns[0], ns[2])), measure.Number(measure.Ratio(less(ns[0], ns[1]), less(ns[2], ns[3]))),
			measure.Number(1e3/measure.Median(ns[0])), measure.Number(1e3/measure.Median(ns[2])))
	}
	return whole.Write(out)
}
