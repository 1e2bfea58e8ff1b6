// Package exec is skep exec: any program, with its bpf(2) served by skep.
package exec

import (
	"math"
	"os"

	"github.com/spf13/cobra"

	"github.com/skep-bpf/skep/internal/bpfsys"
	"github.com/skep-bpf/skep/internal/cli/ui"
	"github.com/skep-bpf/skep/internal/rtnl"
	"github.com/skep-bpf/skep/internal/serve"
)

// Options are what the command line says.
type Options struct {
	Machine      string
	Unprivileged bool
	Root         bool
	Checked      bool
	Sysctl       []string
	Command      []string
}

// NewCmd returns the command.
func NewCmd(s *ui.Streams) *cobra.Command {
	var o Options
	cmd := &cobra.Command{
		Use:   "exec [flags] -- COMMAND [ARG]...",
		Short: "Run any program with its bpf(2) calls served by skep",
		Long: `Runs a program that was made for Linux, unchanged, and its children: their bpf(2)
calls go to a fresh machine of skep's instead of the kernel, which ends with the
program, or with --machine to one that skep serve keeps. Neither root nor a
kernel with BPF is needed. /sys/fs/bpf is an empty BPF file system of their own.

The program is taken to have all capabilities that BPF asks for. What skep
cannot serve fails as on a kernel without it, and one line on standard error says
so. The machine has a loopback device of its own, on which live frames of
BPF_PROG_TEST_RUN pass; devices that something else comes to are those of a
machine that skep serve keeps. Needs Linux 5.19 or later on amd64 or arm64.

Programs that insist on being root are content with --root: they run in a user
namespace of their own, in which their user is number 0 and has no more rights to
anything outside than before, and with an empty /run of their own.

The exit code is the program's own, 128 and the signal's number if one ended it,
125 if skep could not begin, 126 and 127 if the program cannot be run or found.`,
		Example: `  skep exec -- stat --file-system /sys/fs/bpf
  sudo -u nobody skep exec -- bpftool prog load examples/firewall/firewall.o /sys/fs/bpf/fw
  sudo -u nobody skep exec -- go test ./...
  skep exec --root -- id --user`,
		Args: ui.Args(1, math.MaxInt),
		RunE: func(_ *cobra.Command, args []string) error {
			o.Command = args
			return execute(s, &o)
		},
	}
	f := cmd.Flags()
	f.SetInterspersed(false) // what follows COMMAND is its own
	f.StringVar(&o.Machine, "machine", os.Getenv("SKEP_MACHINE"), "join the skep serve that listens at `PATH`; SKEP_MACHINE in the environment says the same")
	f.Lookup("machine").DefValue = "" // the manual does not depend on where it is made
	f.BoolVar(&o.Unprivileged, "unprivileged", false, "take the program to have no capabilities")
	f.BoolVar(&o.Root, "root", false, "have the program see itself as root")
	f.BoolVar(&o.Checked, "check", false, "run BPF programs in the interpreter's checked mode")
	f.StringArrayVar(&o.Sysctl, "sysctl", nil, ui.SysctlUsage)
	return cmd
}

func execute(s *ui.Streams, o *Options) error {
	if err := serve.Available(); err != nil {
		return ui.WithCode(err, serve.NotBegun)
	}
	caps := bpfsys.AllCaps
	if o.Unprivileged {
		caps = 0
	}
	options := serve.Options{Machine: o.Machine, Caps: caps, Root: o.Root, Args: o.Command, Stdin: s.In, Stdout: s.Out, Stderr: s.Err}
	if o.Machine != "" {
		if o.Checked || len(o.Sysctl) != 0 {
			return ui.Usagef("--check and --sysctl are for skep serve to say, whose machine this is")
		}
		code, err := serve.Exec(&options)
		return end(code, err)
	}
	options.Trace = serve.NewTracePipe()
	devices, sys, done, err := rtnl.NewSystem(serve.MachineOptions{Checked: o.Checked, Sysctl: o.Sysctl, Trace: options.Trace}, nil, s.Err)
	if err != nil {
		return ui.WithCode(err, serve.NotBegun)
	}
	defer done()
	devices.LoopbackUp()
	options.System = sys
	code, err := serve.Exec(&options)
	return end(code, err)
}

// end is the program's exit code, or what kept it from beginning.
func end(code int, err error) error {
	if err != nil {
		return ui.WithCode(err, serve.NotBegun)
	}
	return ui.Exit(code)
}
