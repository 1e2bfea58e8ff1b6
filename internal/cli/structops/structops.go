// Package structops is skep struct_ops: kernel interfaces that programs implement,
// with bpftool's grammar and output.
package structops

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/skep-bpf/skep/image"
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/cli/objects"
	"github.com/skep-bpf/skep/internal/cli/ui"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/linux"
	"github.com/skep-bpf/skep/internal/rawbtf"
)

// NewCmd returns the command.
func NewCmd(s *ui.Streams) *cobra.Command {
	var o objects.Options
	cmd := &cobra.Command{
		Use:   "struct_ops COMMAND",
		Short: "Register and show interfaces that programs implement, as bpftool does",
		Long: `Registers and shows kernel interfaces that programs implement (struct_ops maps), such
as TCP congestion controls, with bpftool's grammar and output: those of a machine that
skep serve keeps (--machine, SKEP_MACHINE), or of the kernel (--engine linux); play calls one here.

  STRUCT_OPS_MAP := { id N | name NAME }`,
		Example: `  skep struct_ops show --machine /tmp/machine
  sudo skep struct_ops register dctcp.o --engine linux
  sudo skep struct_ops dump name dctcp --engine linux
  skep struct_ops play examples/congestion/congestion.o aimd 'ack*3 lose ack*4'`,
	}
	cmd.AddCommand(newPlayCmd(s, &o))
	return o.Noun(s, cmd, "show list register unregister dump help play", []objects.VerbRow{
		{Use: "show [STRUCT_OPS_MAP]", Aliases: []string{"list"}, Short: "Show which interfaces are implemented", Do: show},
		{Use: "dump [STRUCT_OPS_MAP]", Short: "Show an interface's members, functions by their programs", Do: dump},
		{Use: "register OBJ [LINK_DIR]", Short: "Load an object file and make its implementations known", Long: registerHelp, Do: register},
		{Use: "unregister STRUCT_OPS_MAP", Short: "Take an implementation away from the kernel", Do: unregister},
	})
}

// each calls do for the struct_ops maps that the command line names, all if it names none.
func each(v *objects.Verb, do func(*linux.Object, *linux.MapInfo) error) error {
	if v.Len() > 0 {
		if !objects.Begins(v.Peek(), "id") && !objects.Begins(v.Peek(), "name") {
			return ui.Usagef("%q: a struct_ops map is named by id or name", v.Peek())
		}
		list, err := v.Maps()
		if err != nil {
			return err
		}
		if err := v.End(); err != nil {
			return err
		}
		for _, o := range list {
			defer o.Close()
			m, err := o.Map()
			if err != nil {
				return err
			}
			if m.Type != catalog.MapStructOps {
				return fmt.Errorf("map %d is no struct_ops map", m.ID)
			}
			if err := do(o, m); err != nil {
				return err
			}
		}
		return nil
	}
	return objects.Each(linux.KindMap, func(_ uint32, o *linux.Object) (bool, error) {
		m, err := o.Map()
		if err != nil || m.Type != catalog.MapStructOps {
			return false, err
		}
		return false, do(o, m)
	})
}

// interfaceOf is the name of the interface a map implements.
func interfaceOf(v *objects.Verb, m *linux.MapInfo) (string, error) {
	b, err := v.Types(objects.VmlinuxID)
	if err != nil {
		return "", err
	}
	if !b.Valid(m.VmlinuxValueID) || b.Kind(int(m.VmlinuxValueID)) != rawbtf.KindStruct {
		return "<bpf_struct_ops_type_not_found>", nil
	}
	return strings.TrimPrefix(b.Name(int(m.VmlinuxValueID)), objects.StructOpsPrefix), nil
}

func show(v *objects.Verb) error {
	if v.J != nil && !objects.Begins(v.Peek(), "id") { // which is one at most
		v.J.Array()
		defer v.J.EndArray()
	}
	return each(v, func(_ *linux.Object, m *linux.MapInfo) error {
		name, err := interfaceOf(v, m)
		if err != nil {
			return err
		}
		if v.J == nil {
			v.Printf("%d: %-15s %-32s\n", m.ID, ui.Printable(m.Name), ui.Printable(name))
			return nil
		}
		v.J.Object()
		v.J.Field("id", m.ID)
		v.J.Field("name", m.Name)
		v.J.Field("kernel_struct_ops", name)
		v.J.EndObject()
		return nil
	})
}

func dump(v *objects.Verb) error {
	b, err := v.Types(objects.VmlinuxID)
	if err != nil {
		return err
	}
	j := v.J
	if j == nil {
		j = objects.NewJSON(v.Out, true)
		defer j.Line()
	}
	j.Array()
	defer j.EndArray()
	return each(v, func(o *linux.Object, m *linux.MapInfo) error {
		value := make([]byte, m.ValueSize)
		if err := o.AsMap().Lookup(make([]byte, 4), value, 0); err != nil {
			return err
		}
		if !b.Valid(m.VmlinuxValueID) {
			return fmt.Errorf("map %d: the kernel's types have none for it", m.ID)
		}
		j.Object()
		if err := writeInfo(v, j, b, o); err != nil {
			return err
		}
		j.EndObject()
		j.Object()
		defer j.EndObject()
		j.Name(b.Name(int(m.VmlinuxValueID)))
		w := objects.Values{J: j, BTF: b, Text: v.J == nil, Prog: func(id uint32) string { return progName(v, id) }}
		return w.Write(m.VmlinuxValueID, value)
	})
}

// writeInfo writes what the kernel tells of the map, by the kernel's type for that.
func writeInfo(v *objects.Verb, j *objects.JSON, b *rawbtf.BTF, o *linux.Object) error {
	for id := 1; id <= b.Count(); id++ {
		if b.Kind(id) != rawbtf.KindStruct || b.Name(id) != "bpf_map_info" {
			continue
		}
		info, err := o.RawMapInfo(int(b.Word(id, 2)))
		if err != nil {
			return err
		}
		j.Name("bpf_map_info")
		w := objects.Values{J: j, BTF: b, Text: v.J == nil}
		return w.Write(uint32(id), info)
	}
	return errors.New("the kernel's types have no struct bpf_map_info")
}

// progName is the name of the function behind a program's id.
func progName(v *objects.Verb, id uint32) string {
	if o, err := linux.OpenID(linux.KindProg, id); err == nil {
		defer o.Close()
		if info, err := o.Prog(); err == nil {
			if name := v.Func(info, 0); name != "" {
				return name
			}
		}
	}
	return "<unknown_prog_name>"
}

const registerHelp = `Loads an object file and registers what its sections .struct_ops and .struct_ops.link
hold. The first kind stays until struct_ops unregister; the second is registered as
long as its link is there, which is pinned in LINK_DIR by the map's name and, without
it, ends with the command.`

func register(v *objects.Verb) error {
	file, err := v.Next("OBJ, the object file")
	if err != nil {
		return err
	}
	dir := ""
	if v.Len() > 0 {
		dir, _ = v.Next("LINK_DIR")
	}
	if err := v.End(); err != nil {
		return err
	}
	img, err := v.ReadObject(file)
	if err != nil {
		return err
	}
	l, err := v.Load(img, &objects.LoadOptions{StructOps: true})
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	defer l.Close()
	var errs []error
	n := 0
	for i, m := range img.Maps {
		if m.Kind != image.KindStructOps || l.Maps[i] == nil {
			continue
		}
		n++
		if err := registerOne(v, l, i, dir); err != nil {
			errs = append(errs, fmt.Errorf("%s: %s: %w", file, m.Name, err))
		}
	}
	if n == 0 {
		return fmt.Errorf("%s: it holds no struct_ops", file)
	}
	return errors.Join(append(errs, v.Done())...)
}

func registerOne(v *objects.Verb, l *objects.Loaded, i int, dir string) error {
	link, err := l.Register(i)
	if e := errno.Errno(0); errors.As(err, &e) && objects.RefusedOps[e] != "" {
		return fmt.Errorf("%w: %s", err, objects.RefusedOps[e])
	}
	if err != nil {
		return err
	}
	m, err := l.Maps[i].Info()
	if err != nil {
		return err
	}
	name, err := interfaceOf(v, m)
	if err != nil {
		return err
	}
	text := fmt.Sprintf("Registered %s %s id %d\n", ui.Printable(name), ui.Printable(m.Name), m.ID)
	if link != nil {
		defer link.Close()
		if dir != "" {
			pins := v.NewPins()
			if err := pins.Mkdir(dir); err != nil {
				return err
			}
			if err := pins.Pin(link.FD(), filepath.Join(dir, m.Name)); err != nil {
				return err
			}
		}
		info, err := link.Link()
		if err != nil {
			return err
		}
		text = fmt.Sprintf("Registered %s %s map id %d link id %d\n", ui.Printable(name), ui.Printable(m.Name), m.ID, info.ID)
	}
	if v.J == nil {
		fmt.Fprint(v.UI.Err, text)
	}
	return nil
}

func unregister(v *objects.Verb) error {
	if v.Len() == 0 {
		return ui.Usagef("STRUCT_OPS_MAP is missing")
	}
	err := each(v, func(o *linux.Object, m *linux.MapInfo) error {
		if err := o.AsMap().Delete(make([]byte, 4)); err != nil {
			return fmt.Errorf("map %d: %w", m.ID, err)
		}
		name, err := interfaceOf(v, m)
		if err != nil {
			return err
		}
		if v.J == nil {
			fmt.Fprintf(v.UI.Err, "Unregistered %s %s id %d\n", ui.Printable(name), ui.Printable(m.Name), m.ID)
		}
		return nil
	})
	return errors.Join(err, v.Done())
}
