// Package objects is what the commands about programs, maps, links and types
// share: which system they ask, how its objects are named on the command line,
// and how they are shown. Grammar and output are bpftool's.
//
// There is one way to a system, bpf(2) itself. The live kernel answers it where
// --engine linux says so; else the process joins a machine that skep serve
// keeps, and the same calls are answered there.
package objects

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/skep-bpf/skep/internal/cli/engine"
	"github.com/skep-bpf/skep/internal/cli/ui"
	"github.com/skep-bpf/skep/internal/serve"
)

// Options are the flags that all these commands have.
type Options struct {
	Engine, Machine string
	JSON, Pretty    bool
	Pinned          bool // show names in BPF file systems
	NoMount         bool
	Debug           bool

	Unprivileged bool // join the machine as a caller without capabilities
}

// Flags adds the flags to a command and those below it.
func (o *Options) Flags(cmd *cobra.Command) {
	f := cmd.PersistentFlags()
	ui.OneOf(f, &o.Engine, "engine", engine.Skep, "skep asks a machine that skep serve keeps, linux the kernel beneath", engine.Names...)
	f.StringVar(&o.Machine, "machine", os.Getenv("SKEP_MACHINE"), "the machine whose skep serve listens at `PATH`; SKEP_MACHINE in the environment says the same")
	f.Lookup("machine").DefValue = "" // the manual does not depend on where it is made
	f.BoolVarP(&o.JSON, "json", "j", false, "print JSON")
	f.BoolVarP(&o.Pretty, "pretty", "p", false, "print JSON, indented")
	f.BoolVarP(&o.Pinned, "bpffs", "f", false, "show where objects are pinned")
	f.BoolVarP(&o.NoMount, "nomount", "n", false, "do not mount a BPF file system to pin in")
	f.BoolVarP(&o.Debug, "debug", "d", false, "print the verifier's log")
	for name, short := range map[string]string{"legacy": "l", "mapcompat": "m", "use-loader": "L"} {
		f.BoolP(name, short, false, "taken for bpftool's sake; changes nothing")
		f.Lookup(name).Hidden = true
	}
}

// Given reports whether the command line or the environment says which system to ask.
func (o *Options) Given() bool {
	return o.Engine != engine.Skep || o.Machine != "" || os.Getenv(serve.ServedEnv) != "" || serve.Default() != ""
}

// ErrNoSystem says what is to be done where no system is named.
var ErrNoSystem = errors.New("no machine to ask: begin one with skep serve, name one by --machine PATH or SKEP_MACHINE, or ask the kernel by --engine linux")

// Connect chooses who answers bpf(2) from now on. Below skep exec that is settled.
func (o *Options) Connect(s *ui.Streams) error {
	served := os.Getenv(serve.ServedEnv)
	if o.Engine == engine.Linux || o.Machine == "" && served != "" {
		return nil
	}
	if o.Machine == "" {
		o.Machine = serve.Default()
	}
	if o.Machine == "" {
		return ErrNoSystem
	}
	if err := serve.Available(); err != nil {
		return err
	}
	err := serve.Join(o.Machine, o.Unprivileged, s.Err)
	if served == "" || !errors.Is(err, serve.ErrNested) || o.Unprivileged {
		return err
	}
	if abs, aerr := filepath.Abs(o.Machine); aerr == nil && abs == served {
		return nil
	}
	return errors.New("this runs under skep exec, on another machine: run it outside, or leave out --machine (SKEP_MACHINE) to ask that one")
}

// Verb is one command under way: its words, and where its answer goes.
type Verb struct {
	*Options
	*Words
	UI   *ui.Streams
	Out  *bufio.Writer
	J    *JSON // nil where text is wanted
	Live bool  // the kernel answers, not a machine

	types map[uint32]*typesOf // BTF by id
}

// Run makes the function that cobra calls for a command: it connects, runs do
// and prints what it wrote, and a failure as JSON too where JSON is wanted.
func (o *Options) Run(s *ui.Streams, do func(*Verb) error) func(*cobra.Command, []string) error {
	return func(_ *cobra.Command, args []string) error {
		if err := o.Connect(s); err != nil {
			return err
		}
		return o.Offline(s, args, do)
	}
}

// Offline is Run for what asks no system.
func (o *Options) Offline(s *ui.Streams, args []string, do func(*Verb) error) error {
	v := &Verb{
		Options: o, Words: &Words{args}, UI: s, Out: bufio.NewWriter(s.Out), Live: o.Engine == engine.Linux,
		types: map[uint32]*typesOf{},
	}
	if o.JSON || o.Pretty {
		v.J = NewJSON(v.Out, o.Pretty)
	}
	err := do(v)
	if v.J != nil {
		if err != nil && !errors.Is(err, ui.ErrSilent) {
			for v.J.depth > 0 { // what was begun is left as JSON
				v.J.depth--
			}
			v.Out.Reset(s.Out)
			v.J.comma = false
			v.J.Object()
			v.J.Field("error", ui.OneLine(err.Error()))
			v.J.EndObject()
		}
		v.J.Line()
	}
	return errors.Join(err, v.Out.Flush())
}

// Done says that a command without an answer has done its work: null in JSON.
func (v *Verb) Done() error {
	if v.J != nil {
		v.J.Null()
	}
	return nil
}

// UntilInterrupted is a context that ends with an interrupt, and how to stop waiting for one.
func UntilInterrupted() (context.Context, context.CancelFunc) {
	return signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
}

// Printf writes text.
func (v *Verb) Printf(format string, args ...any) { fmt.Fprintf(v.Out, format, args...) }

// Hex writes bytes as bpftool does, sixteen to a line, sep between them but
// where the line's second half begins.
func (v *Verb) Hex(data []byte, sep string) {
	for i, b := range data {
		switch {
		case i == 0:
		case i%16 == 0:
			v.Out.WriteByte('\n')
		case i%8 == 0:
			v.Out.WriteString("  ")
		default:
			v.Out.WriteString(sep)
		}
		fmt.Fprintf(v.Out, "%02x", b)
	}
}
