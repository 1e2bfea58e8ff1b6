// Package perf is skep perf: programs attached to perf events, with bpftool's
// grammar and output.
package perf

import (
	"fmt"
	"os"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/skep-bpf/skep/internal/cli/objects"
	"github.com/skep-bpf/skep/internal/cli/ui"
	"github.com/skep-bpf/skep/internal/linux"
)

// NewCmd returns the command.
func NewCmd(s *ui.Streams) *cobra.Command {
	var o objects.Options
	return o.Noun(s, &cobra.Command{
		Use:   "perf COMMAND",
		Short: "Show programs attached to tracepoints and probes, as bpftool does",
		Long: `Shows which processes have programs attached to tracepoints and probes by a perf
event, or to raw tracepoints, with bpftool's grammar and output: on a machine that
skep serve keeps (--machine, SKEP_MACHINE), or on the kernel (--engine linux).`,
		Example: `  skep perf show --machine /tmp/machine
  sudo skep perf show --engine linux -j`,
	}, "show list help", []objects.VerbRow{
		{Use: "show", Aliases: []string{"list"}, Short: "Show which descriptors of which processes have programs attached", Do: show},
	})
}

// kinds are those of enum bpf_task_fd_type; kinds with probes have a place besides a name.
var kinds = [...]struct{ name, what string }{
	{"raw_tracepoint", "tracepoint"}, {"tracepoint", "tracepoint"},
	{"kprobe", "func"}, {"kretprobe", "func"}, {"uprobe", "filename"}, {"uretprobe", "filename"},
}

func show(v *objects.Verb) error {
	if err := v.End(); err != nil {
		return err
	}
	if v.J != nil {
		v.J.Array()
		defer v.J.EndArray()
	}
	for _, pid := range numbers("/proc") {
		for _, fd := range numbers(fmt.Sprintf("/proc/%d/fd", pid)) {
			if q, err := linux.QueryTaskFD(pid, fd); err == nil && q.Type < uint32(len(kinds)) {
				showOne(v, pid, fd, q)
			}
		}
	}
	return nil
}

// numbers are the names in a directory that are numbers, rising.
func numbers(dir string) []int {
	entries, _ := os.ReadDir(dir) // a process may be another user's, or gone
	var ns []int
	for _, e := range entries {
		if n, err := strconv.Atoi(e.Name()); err == nil && n >= 0 {
			ns = append(ns, n)
		}
	}
	slices.Sort(ns)
	return ns
}

func showOne(v *objects.Verb, pid, fd int, q *linux.TaskFD) {
	kind := kinds[q.Type]
	place := kind.what != "tracepoint"
	if v.J != nil {
		v.J.Object()
		defer v.J.EndObject()
		v.J.Field("pid", pid)
		v.J.Field("fd", fd)
		v.J.Field("prog_id", q.ProgID)
		v.J.Field("fd_type", kind.name)
		if kind.what == "func" && q.Name == "" {
			v.J.Field("addr", q.Addr)
			return
		}
		v.J.Field(kind.what, q.Name)
		if place {
			v.J.Field("offset", q.Offset)
		}
		return
	}
	v.Printf("pid %d  fd %d: prog_id %d  %s  ", pid, fd, q.ProgID, kind.name)
	switch {
	case kind.what == "func" && q.Name == "":
		v.Printf("addr %d\n", q.Addr)
	case place:
		v.Printf("%s %s  offset %d\n", kind.what, ui.Printable(q.Name), q.Offset)
	default:
		v.Printf("%s\n", ui.Printable(q.Name))
	}
}
