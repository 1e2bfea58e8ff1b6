//go:build linux && (amd64 || arm64)

package serve

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/perf"
	"golang.org/x/sys/unix"

	"github.com/skep-bpf/skep/internal/bpfsys"
	"github.com/skep-bpf/skep/internal/oracle"
)

// tracing is a client's view of testdata/tracing.bpf.c.
type tracing struct {
	spec  *ebpf.CollectionSpec
	maps  map[string]*ebpf.Map
	progs map[string]*ebpf.Program
	links []link.Link
}

func newTracing() (*tracing, error) {
	spec, err := ebpf.LoadCollectionSpec(os.Getenv("SERVE_OBJECT"))
	if err != nil {
		return nil, err
	}
	c := &tracing{spec: spec, maps: map[string]*ebpf.Map{}, progs: map[string]*ebpf.Program{}}
	for name, m := range spec.Maps {
		if c.maps[name], err = ebpf.NewMap(m); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// load loads a program, which attaches to a function of to if that is not nil.
func (c *tracing) load(name string, to *ebpf.Program) (*ebpf.Program, error) {
	if p := c.progs[name]; p != nil {
		return p, nil
	}
	s := c.spec.Programs[name].Copy()
	s.AttachTarget = to
	for i, ins := range s.Instructions {
		if m := c.maps[ins.Reference()]; m != nil {
			if err := s.Instructions[i].AssociateMap(m); err != nil {
				return nil, err
			}
		}
	}
	p, err := ebpf.NewProgram(s)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	c.progs[name] = p
	return p, nil
}

// attach loads a program and attaches it.
func (c *tracing) attach(name string, to *ebpf.Program) (link.Link, error) {
	p, err := c.load(name, to)
	if err != nil {
		return nil, err
	}
	var l link.Link
	if p.Type() == ebpf.Extension {
		l, err = link.AttachFreplace(nil, "", p)
	} else {
		l, err = link.AttachTracing(link.TracingOptions{Program: p, AttachType: c.spec.Programs[name].AttachType, Cookie: 77})
	}
	if err != nil {
		return nil, fmt.Errorf("attach %s: %w", name, err)
	}
	c.links = append(c.links, l)
	return l, nil
}

// run runs a program once on 60 bytes, after all numbers were forgotten.
func (c *tracing) run(p *ebpf.Program) (uint32, error) {
	for i := range uint32(64) {
		if err := c.maps["seen"].Put(i, uint64(0)); err != nil {
			return 0, err
		}
	}
	return p.Run(&ebpf.RunOptions{Data: bytes.Repeat([]byte{8}, 60)})
}

// want compares what programs have noted, by place.
func (c *tracing) want(what string, seen map[uint32]uint64) error {
	for at, want := range seen {
		var got uint64
		if err := c.maps["seen"].Lookup(at, &got); err != nil {
			return err
		}
		if got != want {
			return fmt.Errorf("%s: number %d is %d, want %d", what, at, int64(got), int64(want))
		}
	}
	return nil
}

func (c *tracing) close() {
	for _, l := range c.links {
		l.Close()
	}
	for _, p := range c.progs {
		p.Close()
	}
	for _, m := range c.maps {
		m.Close()
	}
}

// refuses checks why something was refused.
func refuses(what string, got, want error) error {
	if !errors.Is(got, want) {
		return fmt.Errorf("%s: %v, want %w", what, got, want)
	}
	return nil
}

const einval = ^uint64(21)

func init() {
	// tracing attaches programs to functions of others: the rules are those of Linux 6.18's sources
	// (bpf_tracing_prog_attach, bpf_trampoline_link_prog), as the kernel that these tests
	// run on does not load such programs (EPERM).
	clients["tracing"] = func() error {
		c, err := newTracing()
		if err != nil {
			return err
		}
		defer c.close()
		target, err := c.load("target", nil)
		if err != nil {
			return err
		}
		if r, err := c.run(target); r != 111 || err != nil {
			return fmt.Errorf("the target by itself: %d, %v", r, err)
		}
		events, err := perf.NewReader(c.maps["samples"], 4096)
		if err != nil {
			return err
		}
		defer events.Close()

		// Entry and exit of the main function.
		var where uint64
		if os.Getenv("SERVE_NATIVE") != "" { // interpreted code has no address
			where = 1
		}
		for _, name := range []string{"enter_target", "leave_target"} {
			if _, err := c.attach(name, target); err != nil {
				return err
			}
		}
		if r, err := c.run(target); r != 111 || err != nil {
			return fmt.Errorf("traced: %d, %v", r, err)
		}
		if err := c.want("main function", map[uint32]uint64{
			1: 1, 2: 60, 3: 1, 4: 1, 5: where, 6: 77, 7: 'l' | 'o'<<8, 8: 1, 9: 111, 10: 111, 11: einval,
		}); err != nil {
			return err
		}
		rec, err := events.Read()
		if err != nil {
			return err
		}
		if len(rec.RawSample) < 68 || binary.NativeEndian.Uint64(rec.RawSample) != 0x1234 || rec.RawSample[67] != 8 {
			return fmt.Errorf("sample: %d bytes, %x", len(rec.RawSample), rec.RawSample)
		}

		// Other functions: global, static, callbacks; the latest program first.
		for _, name := range []string{"enter_sub", "leave_sub", "enter_sub_too", "leave_hidden", "enter_each"} {
			if _, err := c.attach(name, target); err != nil {
				return err
			}
		}
		if r, err := c.run(target); r != 111 || err != nil {
			return fmt.Errorf("functions traced: %d, %v", r, err)
		}
		if err := c.want("functions", map[uint32]uint64{
			0: 3, 1: 1, 8: 1, 12: 1, 13: 5, 14: 60, 15: 1, 16: 5, 17: 6, 20: 0, 19: 2, 21: 105, 22: 3,
		}); err != nil {
			return err
		}

		// A program called by tail is traced within, not at its main function: a tail call goes past that.
		caller, err := c.load("caller", nil)
		if err != nil {
			return err
		}
		if err := c.maps["jumps"].Put(uint32(0), target); err != nil {
			return err
		}
		if r, err := c.run(caller); r != 111 || err != nil {
			return fmt.Errorf("called by tail: %d, %v", r, err)
		}
		if err := c.want("called by tail", map[uint32]uint64{0: 3, 1: 0, 8: 0, 12: 1, 15: 1, 22: 3}); err != nil {
			return err
		}

		// What is traced cannot be replaced, and what is in a prog_array neither.
		instead, err := c.load("instead", target)
		if err != nil {
			return err
		}
		_, err = link.AttachFreplace(nil, "", instead)
		if err := refuses("replacing what is traced", err, unix.EBUSY); err != nil {
			return err
		}
		whole, err := c.load("instead_of_target", target)
		if err != nil {
			return err
		}
		// Once attached, a program cannot be attached again: its target is the link's.
		_, err = link.AttachTracing(link.TracingOptions{Program: c.progs["leave_hidden"]})
		if err := refuses("attaching again", err, unix.EINVAL); err != nil {
			return err
		}
		// A tracer is traced in turn.
		if _, err := c.attach("enter_enter", c.progs["enter_target"]); err != nil {
			return err
		}
		if _, err := c.run(target); err != nil {
			return err
		}
		if err := c.want("tracer", map[uint32]uint64{1: 1, 27: 1}); err != nil {
			return err
		}
		for _, l := range c.links {
			if err := l.Close(); err != nil {
				return err
			}
		}
		c.links = nil
		_, err = link.AttachFreplace(nil, "", whole)
		if err := refuses("replacing what is in a prog_array", err, unix.EBUSY); err != nil {
			return err
		}
		if err := c.maps["jumps"].Delete(uint32(0)); err != nil {
			return err
		}
		if r, err := c.run(target); r != 111 || err != nil {
			return fmt.Errorf("no longer traced: %d, %v", r, err)
		}
		if err := c.want("no longer traced", map[uint32]uint64{0: 3, 1: 0, 8: 0, 12: 0, 15: 0, 21: 0, 22: 0}); err != nil {
			return err
		}

		// A function is replaced, and back.
		if _, err := c.attach("instead", target); err != nil {
			return err
		}
		if _, err := c.attach("leave_instead", instead); err != nil {
			return err
		}
		if r, err := c.run(target); r != 1006+105 || err != nil {
			return fmt.Errorf("replaced: %d, %v", r, err)
		}
		if err := c.want("replaced", map[uint32]uint64{23: 1, 25: 5, 26: 1006}); err != nil {
			return err
		}
		if err := refuses("an extended program in a prog_array", c.maps["jumps"].Put(uint32(0), target), unix.EBUSY); err != nil {
			return err
		}
		delete(c.progs, "enter_sub") // attached once: it is loaded anew
		if _, err := c.attach("enter_sub", target); !errors.Is(err, unix.EBUSY) {
			return fmt.Errorf("tracing what is replaced: %w", err)
		}
		for _, l := range c.links {
			l.Close()
		}
		c.links = nil
		if r, err := c.run(target); r != 111 || err != nil {
			return fmt.Errorf("no longer replaced: %d, %v", r, err)
		}
		// An ext program may go elsewhere, as often as it likes, if it is told where.
		l, err := link.AttachFreplace(target, "sub", instead)
		if err != nil {
			return err
		}
		if r, err := c.run(target); r != 1006+105 || err != nil {
			return fmt.Errorf("replaced once more: %d, %v", r, err)
		}
		l.Close()
		_, err = link.AttachFreplace(target, "hidden", instead)
		if err := refuses("replacing a static function", err, unix.EINVAL); err != nil {
			return err
		}
		_, err = link.AttachFreplace(nil, "", instead)
		if err := refuses("replacing who knows what", err, unix.EINVAL); err != nil {
			return err
		}
		// It comes and goes while the target runs: each run meets the one function or the other.
		failed := make(chan error, 1)
		stop := make(chan struct{})
		go func() {
			defer close(failed)
			for {
				select {
				case <-stop:
					return
				default:
				}
				if r, err := target.Run(&ebpf.RunOptions{Data: make([]byte, 60), Repeat: 100}); err != nil || r != 111 && r != 1006+105 {
					failed <- fmt.Errorf("while it comes and goes: %d, %w", r, err)
					return
				}
			}
		}()
		for range 100 {
			l, err := link.AttachFreplace(target, "sub", instead)
			if err != nil {
				return err
			}
			l.Close()
		}
		close(stop)
		if err := <-failed; err != nil {
			return err
		}
		if _, err := c.attach("instead_of_target", target); err != nil {
			return err
		}
		if r, err := c.run(target); r != 42 || err != nil {
			return fmt.Errorf("main function replaced: %d, %v", r, err)
		}

		// Socket buffers.
		classify, err := c.load("classify", nil)
		if err != nil {
			return err
		}
		if _, err := c.attach("leave_classify", classify); err != nil {
			return err
		}
		if r, err := c.run(classify); r != 3 || err != nil {
			return fmt.Errorf("tc: %d, %v", r, err)
		}
		if err := c.want("socket buffer", map[uint32]uint64{28: 60, 29: 9, 30: 0x0808, 31: 1, 32: 3}); err != nil {
			return err
		}
		return nil
	}
}

// bpfObject compiles testdata/NAME.bpf.c.
func bpfObject(t *testing.T, name string) string {
	t.Helper()
	arch := map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[runtime.GOARCH]
	object := filepath.Join(t.TempDir(), name+".o")
	out, err := exec.Command("clang-19", "-O2", "-g", "-target", "bpf", "-I/usr/include/"+arch+"-linux-gnu", "-c", "testdata/"+name+".bpf.c", "-o", object).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, out)
	}
	oracle.Need(t, "clang-19", err)
	return object
}

// TestTracing: programs attached to functions of others run, on native code and in the interpreter's checked mode.
func TestTracing(t *testing.T) {
	oracle.Need(t, "interception of system calls", Available())
	object := bpfObject(t, "tracing")
	for name, o := range map[string]MachineOptions{"native": {}, "interpreted": {Sysctl: []string{"net.core.bpf_jit_enable=0"}}, "checked": {Checked: true}} {
		t.Run(name, func(t *testing.T) {
			var errs strings.Builder
			env := append(os.Environ(), "SERVE_CLIENT=tracing", "SERVE_OBJECT="+object)
			sys, done, err := NewSystem(o, &errs)
			if err != nil {
				t.Fatal(err)
			}
			defer done()
			if sys.Machine().Native() {
				env = append(env, "SERVE_NATIVE=1")
			}
			code, err := Exec(&Options{System: sys, Caps: bpfsys.AllCaps, Args: []string{"/proc/self/exe"},
				Env: env, Stdout: os.Stdout, Stderr: &errs})
			if err != nil || code != 0 || errs.Len() != 0 {
				t.Fatalf("exit code %d, %v: %s", code, err, errs.String())
			}
			empty(t, sys)
		})
	}
}
