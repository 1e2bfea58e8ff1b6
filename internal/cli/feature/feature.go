// Package feature is skep feature: what of BPF there is, by the catalog's rows,
// and what this platform lacks.
package feature

import (
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"strings"

	"github.com/spf13/cobra"

	"github.com/skep-bpf/skep"
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/cli/ui"
	"github.com/skep-bpf/skep/internal/linux"
)

// Options are what the command line says.
type Options struct {
	Topic string
	Prog  string
	JSON  bool
}

// topics are what can be asked for, in the order they are printed.
var topics = []string{"platform", "programs", "maps", "helpers", "since"}

// NewCmd returns the command.
func NewCmd(s *ui.Streams) *cobra.Command {
	var o Options
	cmd := &cobra.Command{
		Use:   "feature [platform|programs|maps|helpers|since] | probe … | list_builtins …",
		Short: "List program types, map types and helpers, and what the platform lacks",
		Long: `Lists what skep knows of BPF: program types with their ELF sections, map types,
helpers with the program types that may call them, each with the first Linux
release that had it, or why programs that call it do not run in user space. With
no argument all but the helpers, of which there are many, and since: with which
release and commit of Linux everything came that skep verify --kernel knows of.

probe tries what a machine or the kernel takes, as bpftool feature probe does.`,
		Example: `  skep feature
  skep feature helpers --prog xdp
  skep feature list_builtins map_types
  sudo skep feature probe --engine linux`,
		Args:      cobra.MatchAll(cobra.MaximumNArgs(1), cobra.OnlyValidArgs),
		ValidArgs: topics,
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				o.Topic = args[0]
			}
			return run(s, &o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Prog, "prog", "", "only helpers that programs of this `type` may call")
	f.BoolVarP(&o.JSON, "json", "j", false, "print JSON")
	cmd.AddCommand(newProbe(s), newList(s))
	return cmd
}

// report is all that can be printed.
type report struct {
	Platform []platform `json:"platform,omitempty"`
	Programs []program  `json:"programs,omitempty"`
	Maps     []mapType  `json:"maps,omitempty"`
	Helpers  []helper   `json:"helpers,omitempty"`
	Since    []since    `json:"since,omitempty"`
}

type platform struct {
	Name      string `json:"name"`
	Available bool   `json:"available"`
	Lack      string `json:"lack,omitempty"` // why not
}

// Have says whether skep runs programs of the type, or makes such maps.
type program struct {
	Name     string   `json:"name"`
	Have     bool     `json:"have"`
	Since    string   `json:"since"`
	Sections []string `json:"sections"`
	Helpers  int      `json:"helpers"`
	Doc      string   `json:"doc"`
}

type mapType struct {
	Name  string `json:"name"`
	Have  bool   `json:"have"`
	Since string `json:"since"`
	Doc   string `json:"doc"`
}

type helper struct {
	ID    uint32   `json:"id"`
	Name  string   `json:"name"`
	Since string   `json:"since"`
	Progs []string `json:"programs"`
	Doc   string   `json:"doc"`
	Lack  string   `json:"lack,omitempty"` // why programs that call it do not run in user space
}

type since struct {
	Kind   string `json:"kind"`
	Name   string `json:"name"`
	For    string `json:"for,omitempty"` // program or map types that got it later
	Since  string `json:"since"`
	Commit string `json:"commit,omitempty"`
}

func run(s *ui.Streams, o *Options) error {
	var kind *catalog.ProgKind
	if o.Prog != "" {
		if kind = catalog.ProgKindByName(o.Prog); kind == nil {
			return ui.Usagef("--prog %s: no such program type: skep feature programs lists them", o.Prog)
		}
		if o.Topic == "" {
			o.Topic = "helpers"
		}
	}
	var r report
	want := func(topic string) bool {
		return o.Topic == topic || o.Topic == "" && topic != "helpers" && topic != "since"
	}
	if want("platform") {
		r.Platform = platforms()
	}
	if want("programs") {
		r.Programs = programs()
	}
	if want("maps") {
		r.Maps = mapTypes()
	}
	if want("helpers") {
		r.Helpers = helpers(kind)
	}
	if want("since") {
		for _, row := range catalog.SinceRows() {
			r.Since = append(r.Since, since{string(row.Kind), row.Name, row.For, row.Version, row.Commit})
		}
	}
	if o.JSON {
		enc := json.NewEncoder(s.Out)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		return enc.Encode(r)
	}
	return r.print(s)
}

// platforms says what of skep there is on this system.
func platforms() []platform {
	list := []platform{{Name: "interpreter, on " + runtime.GOOS + "/" + runtime.GOARCH, Available: true}}
	native := platform{Name: "native code, on " + runtime.GOOS + "/" + runtime.GOARCH}
	if err := skep.HaveNativeCode(); err != nil {
		native.Lack = err.Error()
	} else {
		native.Available = true
	}
	kernel := platform{Name: "engine linux: the kernel's own verifier and test runs"}
	if err := linux.Available(); err != nil {
		kernel.Lack = err.Error()
	} else {
		kernel.Available = true
	}
	return append(list, native, kernel)
}

func programs() []program {
	var list []program
	for _, k := range catalog.ProgKinds() {
		p := program{Name: k.Name, Have: skep.HaveProgramType(k.Type) == nil, Since: k.Since, Doc: k.Doc}
		for _, sec := range k.Sections {
			p.Sections = append(p.Sections, sec.Name)
		}
		p.Helpers = len(helpers(&k))
		list = append(list, p)
	}
	return list
}

func mapTypes() []mapType {
	var list []mapType
	for _, k := range catalog.MapKinds() {
		list = append(list, mapType{Name: k.Name, Have: skep.HaveMapType(k.Type) == nil, Since: k.Since, Doc: k.Doc})
	}
	return list
}

// helpers lists those that programs of kind may call, all if it is nil.
func helpers(kind *catalog.ProgKind) []helper {
	var list []helper
	for id := catalog.HelperID(1); catalog.HelperByID(id) != nil; id++ {
		var progs catalog.ProgSet
		for _, v := range catalog.HelperVariants(id) {
			progs |= v.Progs
		}
		if kind != nil && !progs.Has(kind.Type) {
			continue
		}
		row := catalog.HelperByID(id)
		h := helper{ID: uint32(id), Name: id.String(), Since: row.Since, Doc: row.Doc, Lack: skep.HelperLack(uint32(id))}
		for _, k := range catalog.ProgKinds() {
			if progs.Has(k.Type) {
				h.Progs = append(h.Progs, k.Name)
			}
		}
		list = append(list, h)
	}
	return list
}

func (r *report) print(s *ui.Streams) error {
	var b strings.Builder
	heading := func(text string) {
		if b.Len() > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintln(&b, s.Paint(ui.Bold, text))
	}
	if r.Platform != nil {
		heading("This platform")
		table := s.NewTable("", "", "")
		for _, p := range r.Platform {
			row(table, p.Available, p.Name, p.Lack)
		}
		table.Print(&b)
	}
	if r.Programs != nil {
		heading(fmt.Sprintf("%d program types: all are verified, those with yes are run", len(r.Programs)))
		table := s.NewTable("", "type", "since", ">helpers", "sections", "")
		for _, p := range r.Programs {
			row(table, p.Have, p.Name, p.Since, fmt.Sprint(p.Helpers), short(p.Sections), p.Doc)
		}
		table.Print(&b)
	}
	if r.Maps != nil {
		heading(fmt.Sprintf("%d map types", len(r.Maps)))
		table := s.NewTable("", "type", "since", "")
		for _, m := range r.Maps {
			row(table, m.Have, m.Name, m.Since, m.Doc)
		}
		table.Print(&b)
	}
	if r.Helpers != nil {
		heading(fmt.Sprintf("%d helpers", len(r.Helpers)))
		table := s.NewTable("", ">id", "name", "since", "programs", "")
		all := len(catalog.ProgKinds()) - 1 // ext programs have those of their target
		for _, h := range r.Helpers {
			progs := short(h.Progs)
			if len(h.Progs) >= all {
				progs = "all"
			}
			doc := h.Doc
			if h.Lack != "" {
				doc = "Not in user space: it " + h.Lack + "."
			}
			row(table, h.Lack == "", fmt.Sprint(h.ID), h.Name, h.Since, progs, doc)
		}
		table.Print(&b)
	}
	if r.Since != nil {
		heading(fmt.Sprintf("%d things that came with a release of Linux", len(r.Since)))
		table := s.NewTable("since", "commit", "kind", "name", "for")
		for _, x := range r.Since {
			table.Row(x.Since, x.Commit, x.Kind, x.Name, x.For)
		}
		table.Print(&b)
	}
	_, err := io.WriteString(s.Out, b.String())
	return err
}

// row adds a row that begins with yes or no.
func row(table *ui.Table, have bool, cells ...string) {
	if have {
		table.Styled(ui.Green, append([]string{"yes"}, cells...)...)
	} else {
		table.Styled(ui.Red, append([]string{"no"}, cells...)...)
	}
}

// short joins the first names and counts the rest.
func short(names []string) string {
	const most = 3
	if len(names) <= most {
		return strings.Join(names, " ")
	}
	return fmt.Sprintf("%s +%d", strings.Join(names[:most], " "), len(names)-most)
}
