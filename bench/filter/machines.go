package main

import (
	"fmt"
	"io"
	"time"

	"golang.org/x/net/bpf"

	"github.com/skep-bpf/skep/bench/measure"
	"github.com/skep-bpf/skep/classic"
	"github.com/skep-bpf/skep/lang/pcap"
)

// machines compares the machine filters run on with golang.org/x/net/bpf's: the
// same code on the same packets.
func machines(out io.Writer, o *options) error {
	packets := traffic()
	fmt.Fprintf(out, "One filter on one packet in memory; medians of %d interleaved rounds.\n\n", o.rounds)
	t := &measure.Table{Head: []string{"expression", "skep ÷ x/net/bpf", "skep ns", "x/net/bpf ns"}}
	for _, e := range expressions {
		f, err := pcap.Compile(e, pcap.Ethernet, 262144, nil)
		if err != nil {
			return err
		}
		theirs, err := netVM(f.Program())
		if err != nil {
			return err
		}
		if err := sameVerdicts(f, theirs, packets); err != nil {
			return fmt.Errorf("%s: %w", e, err)
		}
		times, err := measure.Interleaved([]measure.Contender{
			over(packets, func(p []byte) error { f.Match(p); return nil }),
			over(packets, func(p []byte) error { _, err := theirs.Run(p); return err }),
		}, o.rounds, 50*time.Millisecond)
		if err != nil {
			return err
		}
		t.Add(row("`"+e+"`", measure.Ratio(times[0], times[1]), measure.Median(times[0]), measure.Median(times[1]))...)
	}
	return t.Write(out)
}

func netVM(prog []classic.Instruction) (*bpf.VM, error) {
	instructions, ok := bpf.Disassemble(classic.RawProgram(prog))
	if !ok {
		return nil, fmt.Errorf("x/net/bpf does not know all of the code")
	}
	return bpf.NewVM(instructions)
}

func sameVerdicts(f *pcap.Filter, vm *bpf.VM, packets [][]byte) error {
	for i, p := range packets {
		n, err := vm.Run(p)
		if err != nil {
			return err
		}
		if f.Match(p) != (n != 0) {
			return fmt.Errorf("the machines differ on packet %d", i)
		}
	}
	return nil
}

// over runs f on packet after packet.
func over(packets [][]byte, f func([]byte) error) measure.Contender {
	return func(n int) (time.Duration, error) {
		return measure.Thread(func() error {
			for i := range n {
				if err := f(packets[i%len(packets)]); err != nil {
					return err
				}
			}
			return nil
		})
	}
}
