// Package prog is skep prog: what there is to know of programs, with bpftool's
// grammar and output.
package prog

import (
	"github.com/spf13/cobra"

	"github.com/skep-bpf/skep/internal/cli/objects"
	"github.com/skep-bpf/skep/internal/cli/ui"
)

// NewCmd returns the command.
func NewCmd(s *ui.Streams) *cobra.Command {
	var o objects.Options
	cmd := &cobra.Command{
		Use:   "prog COMMAND",
		Short: "Show, load and run programs of a machine or the kernel, as bpftool does",
		Long: `Shows what there is to know of programs, loads and runs them, with bpftool's grammar
and output: those of a machine that skep serve keeps (--machine, SKEP_MACHINE), or of
the kernel (--engine linux). Any beginning of a word stands for it. dump takes object
files too, and needs neither then.

  PROG := { id N | tag TAG | name NAME | pinned FILE }`,
		Example: `  skep prog dump xlated examples/loops/loops.o:plain
  skep prog dump jited examples/loops/loops.o:plain linum
  skep prog loadall examples/firewall/firewall.o /sys/fs/bpf/fw pinmaps /sys/fs/bpf --machine /tmp/machine
  skep prog show --machine /tmp/machine -f
  sudo skep prog show --engine linux -j`,
	}
	cmd.AddCommand(newDump(s, &o))
	return o.Noun(s, cmd, "show list help dump pin load loadall attach detach tracelog run profile", []objects.VerbRow{
		{Use: "show [PROG]", Aliases: []string{"list"}, Short: "Show programs: types, tags, sizes, where they are pinned (-f)", Do: show},
		{Use: "load OBJ PATH [type TYPE] [map {idx N|name NAME} MAP] [{offload_dev|xdpmeta_dev} NAME] [pinmaps MAP_DIR] [autoattach]", Short: "Load an object file and pin its first program at PATH", Long: loadHelp, Do: load},
		{Use: "loadall OBJ PATH [type TYPE] [map {idx N|name NAME} MAP] [{offload_dev|xdpmeta_dev} NAME] [pinmaps MAP_DIR] [autoattach]", Short: "Load an object file and pin its programs in the directory PATH", Long: loadHelp, Do: loadAll},
		{Use: "pin PROG FILE", Short: "Give a program a name in a BPF file system", Do: pin},
		{Use: "run PROG data_in FILE [data_out FILE [data_size_out N]] [ctx_in FILE [ctx_out FILE [ctx_size_out N]]] [repeat N]", Short: "Run a program on a packet or a context", Do: run},
		{Use: "attach PROG ATTACH_TYPE [MAP]", Short: "Attach a program to a map of sockets, or a flow dissector", Do: attach},
		{Use: "detach PROG ATTACH_TYPE [MAP]", Short: "Undo attach", Do: detach},
		{Use: "tracelog [{stdout|stderr} PROG]", Short: "Print what programs trace, until interrupted, or what one has written to its streams", Do: traceLog},
		{Use: "profile PROG [duration SECONDS]", Short: "Count a program's runs and the time they take", Do: profile},
	})
}

const loadHelp = `Loads the programs of an object file, with the maps they use, and gives them names in a
BPF file system, by which they live on.

  type TYPE   take programs for this type, whatever their sections say: xdp, tc, cgroup/skb
  dev NAME    load them for a network device
  map …       use a map there is for one of the object's
  pinmaps     pin the maps too, in a directory
  autoattach  attach the programs that bpf(2) alone can attach, and pin the links`
