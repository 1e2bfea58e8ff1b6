package main

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/skep-bpf/skep/bench"
)

// nativeEngine is native.c, compiled here, as a process that is told what to do line by line.
type nativeEngine struct {
	in  io.Writer
	out *bufio.Reader
}

func newNative() (*nativeEngine, error) {
	dir, err := os.MkdirTemp("", "skep-bench")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	if err := os.CopyFS(dir, bench.Native); err != nil {
		return nil, err
	}
	binary := filepath.Join(dir, "native")
	if out, err := exec.Command("gcc", "-O2", "-o", binary, filepath.Join(dir, "workloads", "native.c")).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("gcc: %w %s", err, out)
	}
	cmd := exec.Command(binary, hex.EncodeToString(tcpPacket))
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	// It ends with its input, that is with this process.
	return &nativeEngine{in: in, out: bufio.NewReader(out)}, cmd.Start()
}

func (e *nativeEngine) open(w *workload) (contender, error) {
	if w.core == "" {
		return contender{}, nil
	}
	do := func(n int) (time.Duration, uint32, error) {
		if _, err := fmt.Fprintln(e.in, w.core, n); err != nil {
			return 0, 0, err
		}
		var took, result uint64
		if _, err := fmt.Fscanln(e.out, &took, &result); err != nil {
			return 0, 0, fmt.Errorf("native.c: %w", err)
		}
		return time.Duration(took), uint32(result), nil
	}
	return contender{
		first: func() (uint32, error) { _, result, err := do(1); return result, err },
		run:   func(n int) (time.Duration, error) { d, _, err := do(n * max(w.turns, 1)); return d, err },
	}, nil
}
