package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"

	"github.com/cilium/ebpf"

	"github.com/skep-bpf/skep/bench/measure"
	"github.com/skep-bpf/skep/internal/bpfsys"
	"github.com/skep-bpf/skep/internal/serve"
)

// clientEnv marks the process that makes calls.
const clientEnv = "BENCH_CLIENT"

// client makes as many calls as it is told, and says what processor time that took it.
func client(in io.Reader, out io.Writer) error {
	m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: elements})
	if err != nil {
		return err
	}
	defer m.Close()
	calls := repeated(lookups(m))
	for {
		var n int
		if _, err := fmt.Fscanln(in, &n); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		took, err := calls(n)
		if err != nil {
			return err
		}
		fmt.Fprintln(out, took.Nanoseconds())
	}
}

// callRows compares a lookup by bpf(2) that is served with one that the kernel answers: processor time of the
// caller, and of the server where there is one.
func callRows() (rows []row, end func(), err error) {
	native := exec.Command("/proc/self/exe")
	native.Env = append(os.Environ(), clientEnv+"=1")
	native.Stderr = os.Stderr
	theirIn, err := native.StdinPipe()
	if err != nil {
		return nil, nil, err
	}
	theirOut, err := native.StdoutPipe()
	if err != nil {
		return nil, nil, err
	}
	if err := native.Start(); err != nil {
		return nil, nil, err
	}
	sys, done, err := serve.NewSystem(serve.MachineOptions{}, os.Stderr)
	if err != nil {
		return nil, nil, err
	}
	ourStdin, ourIn, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	ourOut, ourStdout, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	ended := make(chan error, 1)
	go func() {
		_, err := serve.Exec(&serve.Options{System: sys, Caps: bpfsys.AllCaps, Args: []string{"/proc/self/exe"},
			Env: append(os.Environ(), clientEnv+"=1"), Stdin: ourStdin, Stdout: ourStdout, Stderr: os.Stderr})
		ourStdout.Close()
		ended <- err
	}()
	ask := func(in io.Writer, out io.Reader, n int) (time.Duration, error) {
		fmt.Fprintln(in, n)
		var ns int64
		_, err := fmt.Fscanln(out, &ns)
		return time.Duration(ns), err
	}
	rows = []row{{name: "bpf(2), a lookup", each: 1,
		ours: func(n int) (took time.Duration, err error) {
			served, err := measure.Process(func() error {
				took, err = ask(ourIn, ourOut, n)
				return err
			})
			return took + served, err
		},
		theirs: func(n int) (time.Duration, error) { return ask(theirIn, theirOut, n) },
	}}
	return rows, func() {
		theirIn.Close()
		ourIn.Close()
		native.Wait()
		<-ended
		done()
	}, nil
}
