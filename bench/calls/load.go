package main

import (
	"bytes"
	"fmt"
	"io"
	"time"

	"github.com/cilium/ebpf"

	"github.com/skep-bpf/skep"
	"github.com/skep-bpf/skep/bench"
	"github.com/skep-bpf/skep/bench/measure"
)

// loads compares how long a program of some 4,000 instructions takes from an
// object that has been read to one that can run: verified, rewritten, compiled.
func loads(out io.Writer, rounds int, slice time.Duration) error {
	size, native, err := skepLoader(skep.JITOn)
	if err != nil {
		_, err := fmt.Fprintf(out, "Loading is left out: %v.\n", err)
		return err
	}
	_, interpreted, err := skepLoader(skep.JITOff)
	if err != nil {
		return err
	}
	kernel, missing := linuxLoader()
	times, err := measure.Interleaved([]measure.Contender{native, interpreted, kernel}, rounds, slice)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "Loading a program of %d instructions.\n\n", size)
	t := measure.Table{Head: []string{"", "÷ Linux", "ms"}}
	for i, name := range []string{"skep", "skep interp", "Linux"} {
		if times[i] != nil {
			t.Add(name, ratio(times[i], times[2]), measure.Number(measure.Median(times[i])/1e6))
		}
	}
	if missing != nil {
		fmt.Fprintf(out, "Linux is left out: %v.\n\n", missing)
	}
	return t.Write(out)
}

func skepLoader(jit skep.JIT) (size int, c measure.Contender, err error) {
	m, err := skep.NewMachine(&skep.MachineOptions{CPUs: 1, JIT: jit})
	if err != nil {
		return 0, nil, err
	}
	img, err := m.LoadImage(bytes.NewReader(bench.Long), "long")
	if err != nil {
		return 0, nil, err
	}
	c = times(func() error {
		coll, err := m.LoadCollection(img)
		if err == nil {
			coll.Close()
		}
		return err
	})
	return len(img.Programs[0].Insns), c, nil
}

// linuxLoader's contender is nil where the kernel cannot be asked.
func linuxLoader() (measure.Contender, error) {
	spec, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(bench.Long))
	if err != nil {
		return nil, err
	}
	load := func() error {
		p, err := ebpf.NewProgram(spec.Programs["long_once"])
		if err == nil {
			p.Close()
		}
		return err
	}
	if err := load(); err != nil {
		return nil, err
	}
	return times(load), nil
}

// times makes a contender of something that is done.
func times(f func() error) measure.Contender {
	return func(n int) (time.Duration, error) {
		return measure.Thread(func() error {
			for range n {
				if err := f(); err != nil {
					return err
				}
			}
			return nil
		})
	}
}
