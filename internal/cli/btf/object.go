package btf

import (
	"fmt"

	"github.com/skep-bpf/skep/internal/btfdump"
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/cli/objects"
	"github.com/skep-bpf/skep/internal/cli/ui"
	"github.com/skep-bpf/skep/internal/linux"
	"github.com/skep-bpf/skep/internal/rawbtf"
)

// users are the ids of the programs and maps that have a BTF, by its id.
type users struct{ progs, maps map[uint32][]uint32 }

func findUsers() (*users, error) {
	u := &users{map[uint32][]uint32{}, map[uint32][]uint32{}}
	err := objects.Each(linux.KindProg, func(id uint32, o *linux.Object) (bool, error) {
		info, err := o.Prog()
		if err == nil && info.BTFID != 0 {
			u.progs[info.BTFID] = append(u.progs[info.BTFID], id)
		}
		return false, err
	})
	if err != nil {
		return nil, err
	}
	return u, objects.Each(linux.KindMap, func(id uint32, o *linux.Object) (bool, error) {
		info, err := o.Map()
		if err == nil && info.BTFID != 0 {
			u.maps[info.BTFID] = append(u.maps[info.BTFID], id)
		}
		return false, err
	})
}

func show(v *objects.Verb) error {
	var only *linux.Object
	if v.Len() > 0 {
		if !v.Take("id") {
			return ui.Usagef("%q: types are named by id", v.Peek())
		}
		id, err := v.Uint("id", 32)
		if err != nil {
			return err
		}
		if err := v.End(); err != nil {
			return err
		}
		if only, err = linux.OpenID(linux.KindBTF, uint32(id)); err != nil {
			return fmt.Errorf("btf %d: %w", id, err)
		}
		defer only.Close()
	}
	u, err := findUsers()
	if err != nil {
		return err
	}
	if only != nil {
		return showOne(v, only, u)
	}
	if v.J != nil {
		v.J.Array()
		defer v.J.EndArray()
	}
	return objects.Each(linux.KindBTF, func(_ uint32, o *linux.Object) (bool, error) { return false, showOne(v, o, u) })
}

func showOne(v *objects.Verb, o *linux.Object, u *users) error {
	info, err := o.BTF()
	if err != nil {
		return err
	}
	progs, maps := u.progs[info.ID], u.maps[info.ID]
	if v.J != nil {
		v.J.Object()
		v.J.Field("id", info.ID)
		v.J.Field("size", info.Size)
		for _, list := range []struct {
			name string
			ids  []uint32
		}{{"prog_ids", progs}, {"map_ids", maps}} {
			v.J.Name(list.name)
			v.J.Array()
			for _, id := range list.ids {
				v.J.Raw("%d", id)
			}
			v.J.EndArray()
		}
		v.J.Field("kernel", info.Kernel)
		if info.Name != "" {
			v.J.Field("name", info.Name)
		}
		v.J.EndObject()
		return nil
	}
	name := ui.Printable(info.Name)
	switch {
	case info.Kernel:
		name = "[" + name + "]"
	case name == "":
		name = "<anon>"
	}
	v.Printf("%d: name %s  size %dB", info.ID, name, info.Size)
	list(v, "  prog_ids ", progs)
	list(v, "  map_ids ", maps)
	v.Printf("\n")
	return nil
}

func list(v *objects.Verb, before string, ids []uint32) {
	for _, id := range ids {
		v.Printf("%s%d", before, id)
		before = ","
	}
}

// dumpObject shows the types with an id, or those a program or map has.
func dumpObject(v *objects.Verb, o *Options) error {
	kind, err := v.Next("what")
	if err != nil {
		return err
	}
	var id uint32
	var what string
	switch kind {
	case "id":
		n, err := v.Uint("id", 32)
		if err != nil {
			return err
		}
		id, what = uint32(n), fmt.Sprintf("btf %d", n)
	case "prog":
		p, err := v.Prog()
		if err != nil {
			return err
		}
		defer p.Close()
		info, err := p.Prog()
		if err != nil {
			return err
		}
		id, what = info.BTFID, fmt.Sprintf("prog %d", info.ID)
	case "map":
		m, info, err := v.Map()
		if err != nil {
			return err
		}
		defer m.Close()
		id, what = info.BTFID, fmt.Sprintf("map %d", info.ID)
		if err := o.partOf(v, info); err != nil {
			return err
		}
	}
	if id == 0 {
		return fmt.Errorf("%s has no types", what)
	}
	var b *rawbtf.BTF
	if o.Base != "" {
		b, err = onBase(v, o.Base, id)
	} else {
		b, err = v.Types(id)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	j := v.J
	v.J = nil // what is written ends its own line
	if j != nil && o.Format == "c" {
		return fmt.Errorf("format c is no JSON")
	}
	return o.write(v.Out, b, what)
}

// onBase returns types that build on those of a file.
func onBase(v *objects.Verb, file string, id uint32) (*rawbtf.BTF, error) {
	base, err := read(v.UI, file, nil)
	if err != nil {
		return nil, err
	}
	o, err := linux.OpenID(linux.KindBTF, id)
	if err != nil {
		return nil, err
	}
	defer o.Close()
	_, blob, err := o.Types()
	if err != nil {
		return nil, err
	}
	return btfdump.Load(blob, base)
}

// partOf takes what of a map's types is wanted: those of keys, of values, both, all.
func (o *Options) partOf(v *objects.Verb, m *linux.MapInfo) error {
	part := "kv"
	if v.Len() > 0 {
		part, _ = v.Next("")
	}
	if m.Type == catalog.MapStructOps && part != "all" {
		return fmt.Errorf("a struct_ops map's types are the kernel's: dump map … all")
	}
	if (part == "key" || part == "kv") && m.KeyID != 0 {
		o.Roots = append(o.Roots, int(m.KeyID))
	}
	if (part == "value" || part == "kv") && m.ValueID != 0 {
		o.Roots = append(o.Roots, int(m.ValueID))
	}
	return nil
}
