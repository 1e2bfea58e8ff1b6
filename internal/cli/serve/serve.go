// Package serve is skep serve: a machine that outlives the programs it serves.
package serve

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/skep-bpf/skep/internal/bpfsys"
	"github.com/skep-bpf/skep/internal/cli/ui"
	"github.com/skep-bpf/skep/internal/rtnl"
	"github.com/skep-bpf/skep/internal/serve"
)

// Options are what the command line says.
type Options struct {
	Path         string // "": the user's default
	Unprivileged bool
	Checked      bool
	Sysctl       []string
}

// NewCmd returns the command.
func NewCmd(s *ui.Streams) *cobra.Command {
	var o Options
	cmd := &cobra.Command{
		Use:   "serve [PATH]",
		Short: "Keep a machine for programs that skep exec --machine runs",
		Long: `Makes a machine and listens at PATH, a unix socket, until it is interrupted. Without
PATH that is skep/machine in $XDG_RUNTIME_DIR, else in a directory of the user's own below
/tmp, where skep's ip, tc, prog, map and their like look if they are told no other machine.
Programs that skep exec --machine PATH runs, one after the other or at the same
time, share its maps, programs, links and names below /sys/fs/bpf; what has a
name, or is attached, stays when they end. skep's own prog, map, link and their like
show and change what is there. The machine has network devices, which
skep ip and skep tc make and change: programs that are attached to them run when
packets pass.

Only the user who runs it may join, and root.`,
		Example: `  skep serve &
  skep serve /tmp/machine &
  SKEP_MACHINE=/tmp/machine skep exec -- bpftool prog load examples/firewall/firewall.o /sys/fs/bpf/fw
  SKEP_MACHINE=/tmp/machine skep prog show`,
		Args: ui.Args(0, 1),
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				o.Path = args[0]
			}
			return execute(s, &o)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&o.Unprivileged, "unprivileged", false, "take all programs to have no capabilities")
	f.BoolVar(&o.Checked, "check", false, "run BPF programs in the interpreter's checked mode")
	f.StringArrayVar(&o.Sysctl, "sysctl", nil, ui.SysctlUsage)
	return cmd
}

func execute(s *ui.Streams, o *Options) error {
	if err := serve.Available(); err != nil {
		return err
	}
	if o.Path == "" {
		if err := serve.MakeDefault(); err != nil {
			return err
		}
		o.Path = serve.DefaultPath()
	}
	caps := bpfsys.AllCaps
	if o.Unprivileged {
		caps = 0
	}
	trace := serve.NewTracePipe()
	say := func(line string) { fmt.Fprintf(s.Err, "skep serve: %s\n", ui.OneLine(line)) }
	devices, sys, done, err := rtnl.NewSystem(serve.MachineOptions{Checked: o.Checked, Sysctl: o.Sysctl, Trace: trace}, say, s.Err)
	if err != nil {
		return err
	}
	verbs := devices.Verbs()
	verbs[serve.TraceVerb] = trace.Serve
	stop := make(chan struct{})
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	defer signal.Stop(signals)
	go func() {
		<-signals
		close(stop)
	}()
	err = serve.Listen(&serve.ListenOptions{System: sys, Path: o.Path, Caps: caps, Verbs: verbs, Trace: trace, Stop: stop, Ready: func() {
		fmt.Fprintf(s.Err, "skep serve: programs join by skep exec --machine %s\n", o.Path)
	}})
	err = errors.Join(err, done())
	if errors.Is(err, syscall.EINVAL) {
		return fmt.Errorf("%s: a socket's path has at most 107 bytes", o.Path)
	}
	return err
}
