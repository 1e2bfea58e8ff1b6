package prog

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/skep-bpf/skep/internal/cli/objects"
	"github.com/skep-bpf/skep/internal/cli/ui"
	"github.com/skep-bpf/skep/internal/linux"
	"github.com/skep-bpf/skep/internal/serve"
)

// traceLog prints what programs trace until it is interrupted.
func traceLog(v *objects.Verb) error {
	for i, stream := range []string{"stdout", "stderr"} {
		if v.Take(stream) {
			return readStream(v, i+1)
		}
	}
	if err := v.End(); err != nil {
		return err
	}
	ctx, stop := objects.UntilInterrupted()
	defer stop()
	if v.J != nil {
		v.J.Array()
		defer v.J.EndArray()
	}
	line := func(text string) error {
		if v.J != nil {
			v.J.String(text)
		} else {
			v.Printf("%s\n", ui.Printable(text))
		}
		return v.Out.Flush()
	}
	if v.Live || v.Machine == "" { // below skep exec the file is the machine's
		return traceLive(ctx, line)
	}
	err := serve.Ask(ctx, v.Machine, serve.TraceVerb, nil, nil, func(raw json.RawMessage) error {
		var r serve.TraceReply
		if err := json.Unmarshal(raw, &r); err != nil {
			return err
		}
		for _, l := range r.Text() {
			if err := line(l); err != nil {
				return err
			}
		}
		return nil
	})
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// readStream prints what a program has written to its stream with a number.
func readStream(v *objects.Verb, stream int) error {
	o, err := v.Prog()
	if err != nil {
		return err
	}
	defer o.Close()
	if err := v.End(); err != nil {
		return err
	}
	text := []byte{}
	for buf := make([]byte, 4096); ; {
		n, err := o.ReadStream(stream, buf)
		if err != nil {
			return err
		}
		if n == 0 {
			break
		}
		text = append(text, buf[:n]...)
	}
	if v.J != nil {
		v.J.String(string(text))
		return nil
	}
	_, err = v.Out.Write(text)
	return err
}

// traceLive reads the kernel's trace pipe.
func traceLive(ctx context.Context, line func(string) error) error {
	f, err := os.Open("/sys/kernel/tracing/trace_pipe")
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%w: mount -t tracefs tracefs /sys/kernel/tracing", err)
	}
	if err != nil {
		return err
	}
	defer f.Close()
	lines, fails := make(chan string), make(chan error, 1)
	go func() { // which ends with the process: the pipe knows no other end
		in := bufio.NewScanner(f)
		for in.Scan() {
			lines <- in.Text()
		}
		fails <- in.Err()
	}()
	for {
		select {
		case <-ctx.Done():
			return nil
		case text := <-lines:
			if err := line(text); err != nil {
				return err
			}
		case err := <-fails:
			return err
		}
	}
}

// profile counts a program's runs and their time, for a while or until it is interrupted.
func profile(v *objects.Verb) error {
	o, err := v.Prog()
	if err != nil {
		return err
	}
	defer o.Close()
	ctx, stop := objects.UntilInterrupted()
	defer stop()
	if v.Take("duration") {
		seconds, err := v.Uint("duration", 31)
		if err != nil {
			return err
		}
		var end context.CancelFunc
		ctx, end = context.WithTimeout(ctx, time.Duration(seconds)*time.Second)
		defer end()
	}
	if v.Len() > 0 {
		return fmt.Errorf("%q: hardware events are counted by programs at a function's entry and exit, which neither skep nor Debian's bpftool attach: skep prog profile PROG counts runs and time", v.Peek())
	}
	end, err := linux.EnableStats()
	if err != nil {
		return err
	}
	defer end()
	before, err := o.Prog()
	if err != nil {
		return err
	}
	<-ctx.Done()
	after, err := o.Prog()
	if err != nil {
		return err
	}
	runs, took := after.RunCount-before.RunCount, (after.RunTime - before.RunTime).Nanoseconds()
	if v.J != nil {
		v.J.Array()
		for _, m := range []struct {
			name  string
			value any
		}{{"run_cnt", runs}, {"run_time_ns", took}} {
			v.J.Object()
			v.J.Field("metric", m.name)
			v.J.Field("value", m.value)
			v.J.EndObject()
		}
		v.J.EndArray()
		return nil
	}
	v.Printf("\n%18d run_cnt\n%18d run_time_ns", runs, took)
	if runs > 0 {
		v.Printf("  (%d per run)", uint64(took)/runs)
	}
	v.Printf("\n")
	return nil
}
