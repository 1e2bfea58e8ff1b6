// Package bpfmap is skep map: maps of a machine or of the kernel, with bpftool's
// grammar and output.
package bpfmap

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/cli/objects"
	"github.com/skep-bpf/skep/internal/cli/ui"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/linux"
)

// NewCmd returns the command.
func NewCmd(s *ui.Streams) *cobra.Command {
	var o objects.Options
	return o.Noun(s, &cobra.Command{
		Use:   "map COMMAND",
		Short: "Show and change maps of a machine or the kernel, as bpftool does",
		Long: `Shows and changes maps, with bpftool's grammar and output: those of a machine that
skep serve keeps (--machine, SKEP_MACHINE), or of the kernel (--engine linux). Any
beginning of a word stands for it.

  MAP   := { id N | name NAME | pinned FILE }
  DATA  := [hex] BYTE …                      one word a byte: 10 0x0a 012, after hex 0a
  VALUE := { DATA | MAP | PROG }             MAP and PROG for maps that hold such
  PROG  := { id N | tag TAG | name NAME | pinned FILE }`,
		Example: `  skep serve /tmp/machine &
  export SKEP_MACHINE=/tmp/machine
  skep map create /sys/fs/bpf/m type hash key 4 value 8 entries 16 name counts
  skep map update name counts key 1 0 0 0 value hex 2a 0 0 0 0 0 0 0
  skep map dump name counts
  sudo skep map show --engine linux -f`,
	}, "show list help dump update lookup getnext delete pin event_pipe create peek push enqueue pop dequeue freeze", []objects.VerbRow{
		{Use: "show [MAP]", Aliases: []string{"list"}, Short: "Show maps: types, sizes, where they are pinned (-f)", Do: show},
		{Use: "create FILE type TYPE key SIZE value SIZE entries N name NAME [flags N] [inner_map MAP] [offload_dev NAME]", Short: "Make a map and pin it at FILE", Do: create},
		{Use: "dump MAP", Short: "Show all elements, by their types where the map has some", Do: dump},
		{Use: "update MAP [key DATA] [value VALUE] [any|exist|noexist]", Aliases: []string{"push", "enqueue"}, Short: "Set an element; push onto a queue or stack", Do: update},
		{Use: "lookup MAP [key DATA]", Aliases: []string{"peek"}, Short: "Show an element", Do: lookup},
		{Use: "getnext MAP [key DATA]", Short: "Show the key that comes after a key, the first without one", Do: getNext},
		{Use: "delete MAP key DATA", Short: "Remove an element", Do: remove},
		{Use: "pop MAP", Aliases: []string{"dequeue"}, Short: "Take an element out of a queue or stack", Do: pop},
		{Use: "pin MAP FILE", Short: "Give a map a name in a BPF file system", Do: pin},
		{Use: "event_pipe MAP [cpu N index N]", Short: "Print what programs write to a map of perf events, until interrupted", Long: eventPipeHelp, Example: "  skep map event_pipe name events --machine /tmp/machine\n  sudo skep map event_pipe id 7 cpu 0 index 0 -j --engine linux", Do: eventPipe},
		{Use: "freeze MAP", Short: "Make a map read-only for user space", Do: freeze},
	})
}

func show(v *objects.Verb) error { return v.Show(linux.KindMap, v.Maps, showOne) }

// header shows what comes first of a map.
func header(v *objects.Verb, m *linux.MapInfo) {
	typ := objects.MapType(m.Type)
	if v.J != nil {
		v.J.Field("id", m.ID)
		if typ != "" {
			v.J.Field("type", typ)
		} else {
			v.J.Field("type", uint32(m.Type))
		}
		if m.Name != "" {
			v.J.Field("name", m.Name)
		}
		v.J.Field("flags", int32(m.Flags))
		return
	}
	if typ == "" {
		typ = fmt.Sprintf("type %d", m.Type)
	}
	v.Printf("%d: %s  ", m.ID, typ)
	if m.Name != "" {
		v.Printf("name %s  ", ui.Printable(m.Name))
	}
	v.Printf("flags %s", cHex(m.Flags))
	v.Device(m.Device)
	v.Printf("\n")
}

// cHex is a number as C's %#x prints it but for zero.
func cHex(n uint32) string { return "0x" + strconv.FormatUint(uint64(n), 16) }

func showOne(v *objects.Verb, o *linux.Object, names objects.Names) error {
	m, err := o.Map()
	if err != nil {
		return err
	}
	about := o.FDInfo()
	frozen, _ := strconv.Atoi(about["frozen"])
	memlock, hasMemlock := about["memlock"]
	if v.J != nil {
		v.J.Object()
		header(v, m)
		v.Device(m.Device)
		v.J.Field("bytes_key", m.KeySize)
		v.J.Field("bytes_value", m.ValueSize)
		v.J.Field("max_entries", m.MaxEntries)
		if hasMemlock {
			n, _ := strconv.ParseInt(memlock, 10, 64)
			v.J.Field("bytes_memlock", n)
		}
		owner(v, about)
		v.J.Field("frozen", frozen)
		if m.BTFID != 0 {
			v.J.Field("btf_id", m.BTFID)
		}
		v.Pins(names, m.ID)
		v.J.EndObject()
		return nil
	}
	header(v, m)
	v.Printf("\tkey %dB  value %dB  max_entries %d", m.KeySize, m.ValueSize, m.MaxEntries)
	if hasMemlock {
		v.Printf("  memlock %sB", ui.Printable(memlock))
	}
	owner(v, about)
	v.Pins(names, m.ID)
	var last []string
	if m.BTFID != 0 {
		last = append(last, fmt.Sprintf("btf_id %d", m.BTFID))
	}
	if frozen != 0 {
		last = append(last, "frozen")
	}
	if last != nil {
		v.Printf("\n\t%s", strings.Join(last, "  "))
	}
	v.Printf("\n")
	return nil
}

// owner shows what programs an array of programs takes, once it has had one.
func owner(v *objects.Verb, about map[string]string) {
	typ, hasType := about["owner_prog_type"]
	jited, hasJited := about["owner_jited"]
	n, _ := strconv.ParseUint(typ, 10, 32)
	name := objects.ProgType(catalog.ProgType(n))
	if v.J != nil {
		switch {
		case hasType && name != "":
			v.J.Field("owner_prog_type", name)
		case hasType:
			v.J.Field("owner_prog_type", n)
		}
		if hasJited {
			v.J.Field("owner_jited", jited != "0")
		}
		return
	}
	if hasType || hasJited {
		v.Printf("\n\t")
	}
	if name == "" {
		name = strconv.FormatUint(n, 10)
	}
	if hasType {
		v.Printf("owner_prog_type %s  ", name)
	}
	switch {
	case hasJited && jited == "0":
		v.Printf("owner not jited")
	case hasJited:
		v.Printf("owner jited")
	}
}

func create(v *objects.Verb) error {
	path, err := v.Next("FILE, where to pin the map")
	if err != nil {
		return err
	}
	var def catalog.MapDef
	var opts linux.MapOptions
	named := false
	for v.Len() > 0 {
		switch {
		case v.Take("type"):
			word, err := v.Next("type")
			if err != nil {
				return err
			}
			k := catalog.MapKindByName(word)
			if k == nil {
				return ui.Usagef("type %q: there is no such map type: see skep feature maps", word)
			}
			def.Type = k.Type
		case v.Take("name"):
			if def.Name, err = v.Next("name"); err != nil {
				return err
			}
			named = true
		case v.Take("key"):
			err = size(v, "key size", &def.KeySize)
		case v.Take("value"):
			err = size(v, "value size", &def.ValueSize)
		case v.Take("entries"):
			err = size(v, "entries", &def.MaxEntries)
		case v.Take("flags"):
			err = size(v, "flags", &def.Flags)
		case v.Take("dev"), v.Take("offload_dev"):
			opts.IfIndex, err = v.Interface()
		case v.Take("inner_map"):
			o, _, err := v.Map()
			if err != nil {
				return fmt.Errorf("inner_map: %w", err)
			}
			defer o.Close()
			opts.Inner = o.AsMap()
		default:
			return ui.Usagef("%q: there are type, key, value, entries, name, flags, inner_map and offload_dev", v.Peek())
		}
		if err != nil {
			return err
		}
	}
	switch {
	case def.Type == 0:
		return ui.Usagef("type is missing")
	case !named:
		return ui.Usagef("name is missing")
	}
	m, err := linux.NewMap(&def, &opts)
	if err != nil {
		if bad := strings.IndexFunc(def.Name, func(c rune) bool {
			return c != '_' && c != '.' && (c > 'z' || !unicode.IsLetter(c) && !unicode.IsDigit(c))
		}); bad >= 0 && errors.Is(err, errno.EINVAL) {
			return fmt.Errorf("%w: name %q: letters, digits, _ and . are possible", err, def.Name)
		}
		return err
	}
	defer m.Close()
	if err := v.PinAt(m.FD(), path); err != nil {
		return err
	}
	return v.Done()
}

func size(v *objects.Verb, what string, to *uint32) error {
	n, err := v.Uint(what, 32)
	*to = uint32(n)
	return err
}

func update(v *objects.Verb) error {
	o, m, err := v.Map()
	if err != nil {
		return err
	}
	defer o.Close()
	e, err := parseElem(v, m, true, true)
	if err != nil {
		return err
	}
	defer e.close()
	if err := o.AsMap().Update(e.key, e.value, e.flags); err != nil {
		return err
	}
	return v.Done()
}

func lookup(v *objects.Verb) error {
	o, m, err := v.Map()
	if err != nil {
		return err
	}
	defer o.Close()
	e, err := parseElem(v, m, true, false)
	if err != nil {
		return err
	}
	value, err := valueRoom(m)
	if err != nil {
		return err
	}
	err = o.AsMap().Lookup(e.key, value, 0)
	if errors.Is(err, errno.ENOENT) {
		if v.J == nil {
			v.Printf("key:\n")
			v.Hex(e.key, " ")
			v.Printf("\n\nNot found\n")
		} else {
			v.J.Null()
		}
		return ui.ErrSilent
	}
	if err != nil {
		return err
	}
	return showElem(v, m, e.key, value)
}

func getNext(v *objects.Verb) error {
	o, m, err := v.Map()
	if err != nil {
		return err
	}
	defer o.Close()
	var key []byte
	if v.Len() > 0 {
		e, err := parseElem(v, m, true, false)
		if err != nil {
			return err
		}
		key = e.key
	}
	next := make([]byte, m.KeySize)
	if err := o.AsMap().NextKey(key, next); err != nil {
		return err
	}
	if v.J != nil {
		v.J.Object()
		v.J.Name("key")
		if key != nil {
			v.J.Bytes(key)
		} else {
			v.J.Null()
		}
		v.J.Name("next_key")
		v.J.Bytes(next)
		v.J.EndObject()
		return nil
	}
	if key != nil {
		v.Printf("key:\n")
		v.Hex(key, " ")
		v.Printf("\n")
	} else {
		v.Printf("key: None\n")
	}
	v.Printf("next key:\n")
	v.Hex(next, " ")
	v.Printf("\n")
	return nil
}

func remove(v *objects.Verb) error {
	o, m, err := v.Map()
	if err != nil {
		return err
	}
	defer o.Close()
	e, err := parseElem(v, m, true, false)
	if err != nil {
		return err
	}
	if err := o.AsMap().Delete(e.key); err != nil {
		return err
	}
	return v.Done()
}

func pop(v *objects.Verb) error {
	o, m, err := v.Map()
	if err != nil {
		return err
	}
	defer o.Close()
	if err := v.End(); err != nil {
		return err
	}
	value, err := valueRoom(m)
	if err != nil {
		return err
	}
	var key []byte // none at all is asked for where there are none
	if m.KeySize > 0 {
		key = make([]byte, m.KeySize)
	}
	err = o.AsMap().LookupAndDelete(key, value, 0)
	if errors.Is(err, errno.ENOENT) {
		if v.J == nil {
			v.Printf("Error: empty map\n")
		} else {
			v.J.Null()
		}
		return ui.ErrSilent
	}
	if err != nil {
		return err
	}
	return showElem(v, m, key, value)
}

func pin(v *objects.Verb) error {
	o, _, err := v.Map()
	if err != nil {
		return err
	}
	return v.Pin(o)
}

func freeze(v *objects.Verb) error {
	o, _, err := v.Map()
	if err != nil {
		return err
	}
	defer o.Close()
	if err := v.End(); err != nil {
		return err
	}
	if err := o.AsMap().Freeze(); err != nil {
		return err
	}
	return v.Done()
}
