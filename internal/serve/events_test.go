//go:build linux && (amd64 || arm64)

package serve

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/skep-bpf/skep/internal/bpfsys"
	"github.com/skep-bpf/skep/internal/oracle"
)

func init() {
	// events prints what programs at events have seen.
	clients["events"] = func() error {
		spec, err := ebpf.LoadCollectionSpec(os.Getenv("SERVE_OBJECT"))
		if err != nil {
			return err
		}
		if os.Getenv("SERVE_NATIVE") != "" { // others raise events, too
			if err := spec.Variables["pid"].Set(uint32(os.Getpid())); err != nil {
				return err
			}
		}
		coll, err := ebpf.NewCollection(spec)
		if err != nil {
			return err
		}
		defer coll.Close()
		p := coll.Programs
		attach := func(name string) (link.Link, error) {
			switch p[name].Type() {
			case ebpf.RawTracepoint:
				return link.AttachRawTracepoint(link.RawTracepointOptions{Name: strings.Replace(name, "raw_", "bpf_", 1), Program: p[name]})
			case ebpf.TracePoint:
				group, event, _ := strings.Cut(map[string]string{"record_finish": "bpf_test_run/bpf_test_finish", "record_printk": "bpf_trace/bpf_trace_printk"}[name], "/")
				return link.Tracepoint(group, event, p[name], nil)
			}
			return link.AttachTracing(link.TracingOptions{Program: p[name]})
		}
		show := func(what string) {
			fmt.Print(what)
			for i := range uint32(15) {
				var v uint64
				coll.Maps["seen"].Lookup(i, &v)
				fmt.Printf(" %d", int64(v))
				coll.Maps["seen"].Put(i, uint64(0))
			}
			stats, err := p["raw_printk"].Stats()
			fmt.Println(" misses", stats != nil && stats.RecursionMisses > 0, err)
		}
		run := func(out int) error {
			_, err := p["prints"].Run(&ebpf.RunOptions{Data: make([]byte, 60), DataOut: make([]byte, out)})
			if errors.Is(err, unix.ENOSPC) {
				err = nil
			}
			return err
		}
		var links []link.Link
		for _, name := range []string{"raw_test_finish", "raw_trace_printk", "typed_finish", "record_finish", "record_printk"} {
			p["raw_test_finish"], p["raw_trace_printk"] = p["raw_finish"], p["raw_printk"]
			l, err := attach(name)
			if err != nil {
				return fmt.Errorf("attach %s: %w", name, err)
			}
			links = append(links, l)
			if err := run(60); err != nil {
				return err
			}
			show(name)
		}
		if err := run(10); err != nil {
			return err
		}
		show("too little room")
		for i, l := range links {
			if err := l.Close(); err != nil {
				return err
			}
			if err := run(60); err != nil {
				return err
			}
			show(fmt.Sprint("closed ", i))
		}
		_, err = link.AttachRawTracepoint(link.RawTracepointOptions{Name: "no_such_event", Program: p["raw_finish"]})
		fmt.Println(err)
		info, err := os.ReadFile("/sys/kernel/tracing/events/bpf_test_run/bpf_test_finish/format")
		if err != nil {
			return err
		}
		_, format, _ := strings.Cut(string(info), "format:")
		fmt.Println(format)
		return nil
	}
}

// TestEvents: programs at events see the same as on the kernel, and as often.
func TestEvents(t *testing.T) {
	oracle.Need(t, "interception of system calls", Available())
	object := bpfObject(t, "events")
	env := append(os.Environ(), "SERVE_CLIENT=events", "SERVE_OBJECT="+object)
	native := exec.Command("/proc/self/exe")
	native.Env = append(env, "SERVE_NATIVE=1")
	var told strings.Builder
	native.Stderr = &told
	want, err := native.Output()
	if os.Getuid() != 0 {
		err = os.ErrPermission
	}
	if err != nil {
		err = fmt.Errorf("%w: %s", err, told.String())
	}
	oracle.Need(t, "the live kernel's events", err)
	for name, o := range map[string]MachineOptions{"native": {}, "checked": {Checked: true}} {
		t.Run(name, func(t *testing.T) {
			var out, errs strings.Builder
			sys, done, err := NewSystem(o, &errs)
			if err != nil {
				t.Fatal(err)
			}
			defer done()
			code, err := Exec(&Options{System: sys, Caps: bpfsys.AllCaps, Args: []string{"/proc/self/exe"}, Env: env, Stdout: &out, Stderr: &errs})
			if err != nil || code != 0 {
				t.Fatalf("exit code %d, %v: %s", code, err, errs.String())
			}
			if out.String() != string(want) {
				t.Errorf("skep:\n%s\nlinux:\n%s", out.String(), want)
			}
			empty(t, sys)
		})
	}
}
