package classic

import (
	"bufio"
	"errors"
	"fmt"
	"math/rand/v2"

	"github.com/spf13/cobra"

	"github.com/skep-bpf/skep/classic"
	"github.com/skep-bpf/skep/internal/capture"
	"github.com/skep-bpf/skep/internal/cli/ui"
)

func newDbg(s *ui.Streams) *cobra.Command {
	var p program
	var pcap string
	cmd := &cobra.Command{
		Use:   "dbg [FILE]",
		Short: "Step through a program on the packets of a capture",
		Long: `Reads commands as the kernel's bpf_dbg does, one a line: load, select, step, run,
breakpoint, disassemble, dump, registers, help, quit. FILE and --read load a
program and a capture from the start.`,
		Example: `  echo 'step 2' | skep classic dbg examples/classic/icmp.bpf -r examples/captures/web.pcap`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			return p.args(nil, args)
		},
		RunE: func(*cobra.Command, []string) error { return debug(s, &p, pcap) },
	}
	p.flags(cmd)
	cmd.Flags().StringVarP(&pcap, "read", "r", "", "load the packets of `file`")
	return cmd
}

func debug(s *ui.Streams, p *program, pcap string) error {
	m := p.on()
	d := &classic.Debugger{Out: s.Out, Machine: m, Open: openPackets, Aux: classic.Aux{IfIndex: 1, HardwareType: 1, Network: 14, Random: rand.Uint32}}
	defer d.Close()
	if p.file != "" || p.expr != "" {
		prog, err := p.read(s)
		if err != nil {
			return err
		}
		if err := d.Load(prog); err != nil {
			return p.named(err)
		}
	}
	if pcap != "" {
		if err := d.LoadPackets(pcap); err != nil {
			return fmt.Errorf("%s: %w", pcap, err)
		}
	}
	lines := bufio.NewScanner(s.In)
	lines.Buffer(nil, 1<<20) // a program of 4096 instructions as numbers
	for {
		if s.Interactive() {
			fmt.Fprint(s.Out, "> ")
		}
		if !lines.Scan() {
			break
		}
		switch err := d.Exec(lines.Text()); {
		case errors.Is(err, classic.ErrQuit):
			return nil
		case err != nil && s.Interactive():
			fmt.Fprintln(s.Err, ui.OneLine(err.Error()))
		case err != nil: // of a script the first fault is the last
			return err
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	return nil
}

// packets is a capture as the debugger takes it.
type packets struct{ *capture.Reader }

func (p packets) Next() ([]byte, int, error) {
	packet, err := p.Reader.Next()
	return packet.Data, packet.Length, err
}

func openPackets(name string) (classic.Packets, error) {
	r, err := capture.Open(name)
	if err != nil {
		return nil, err
	}
	return packets{r}, nil
}
