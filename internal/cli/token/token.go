// Package token is skep token: what BPF file systems let others have, with the grammar
// and output of today's bpftool.
package token

import (
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/skep-bpf/skep/internal/cli/objects"
	"github.com/skep-bpf/skep/internal/cli/ui"
)

// NewCmd returns the command.
func NewCmd(s *ui.Streams) *cobra.Command {
	var o objects.Options
	return o.Noun(s, &cobra.Command{
		Use:   "token COMMAND",
		Short: "Show which BPF file systems give tokens, and for what, as bpftool does",
		Long: `Shows the BPF file systems that were mounted with delegate_cmds, delegate_maps,
delegate_progs or delegate_attachs, from which programs in user namespaces get tokens,
as bpftool 7.7 and later show them: those of this mount namespace.`,
		Example: `  sudo mount -t bpf -o delegate_cmds=prog_load,delegate_progs=xdp none /mnt
  skep token show -j --engine linux`,
	}, "show list help", []objects.VerbRow{
		{Use: "show", Aliases: []string{"list"}, Short: "Show mounts and what they delegate", Do: show},
	})
}

// delegated are the mount options, each by what its list is called.
var delegated = [...]struct{ header, option string }{
	{"allowed_cmds", "delegate_cmds"},
	{"allowed_maps", "delegate_maps"},
	{"allowed_progs", "delegate_progs"},
	{"allowed_attachs", "delegate_attachs"},
}

// perLine is how many names stand in a line.
const perLine = 4

func show(v *objects.Verb) error {
	if err := v.End(); err != nil {
		return err
	}
	mounts, err := os.ReadFile("/proc/mounts")
	if err != nil {
		return err
	}
	if v.J != nil {
		v.J.Array()
		defer v.J.EndArray()
	}
	for _, m := range mountsOf(string(mounts)) {
		showOne(v, m)
	}
	return nil
}

// mount is a BPF file system and what it delegates, in the order of delegated.
type mount struct {
	dir   string
	lists [len(delegated)][]string
}

// mountsOf finds the BPF file systems that delegate anything in the text of /proc/mounts.
func mountsOf(text string) (all []mount) {
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 4 || f[2] != "bpf" || !strings.Contains(f[3], "delegate_") {
			continue
		}
		m := mount{dir: objects.MountPoint(f[1])}
		for _, option := range strings.Split(f[3], ",") {
			name, value, _ := strings.Cut(option, "=")
			for i, d := range delegated {
				if name == d.option {
					m.lists[i] = strings.FieldsFunc(value, func(r rune) bool { return r == ':' })
				}
			}
		}
		all = append(all, m)
	}
	return all
}

func showOne(v *objects.Verb, m mount) {
	if v.J != nil {
		v.J.Object()
		defer v.J.EndObject()
		v.J.Field("token_info", m.dir)
		for i, d := range delegated {
			v.J.Name(d.header)
			v.J.Array()
			for _, name := range m.lists[i] {
				v.J.String(name)
			}
			v.J.EndArray()
		}
		return
	}
	v.Printf("token_info  %s", ui.Printable(m.dir))
	for i, d := range delegated {
		v.Printf("\n\t%s:", d.header)
		for n, name := range m.lists[i] {
			if n%perLine == 0 {
				v.Printf("\n\t  ")
			}
			v.Printf("%-20s", ui.Printable(name))
		}
	}
	v.Printf("\n")
}
