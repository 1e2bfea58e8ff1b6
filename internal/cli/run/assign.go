package run

import (
	"bufio"
	"fmt"
	"os"
	"strings"

	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep/image"
	"github.com/skep-bpf/skep/internal/btfval"
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/cli/engine"
	"github.com/skep-bpf/skep/internal/cli/ui"
)

// readSets replaces each @FILE among assignments by the file's lines; lines
// that are empty or begin with # say nothing.
func readSets(args []string) ([]string, error) {
	var sets []string
	for _, arg := range args {
		name, isFile := strings.CutPrefix(arg, "@")
		if !isFile {
			sets = append(sets, arg)
			continue
		}
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		lines := bufio.NewScanner(f)
		for lines.Scan() {
			if line := strings.TrimSpace(lines.Text()); line != "" && line[0] != '#' {
				sets = append(sets, line)
			}
		}
		err = lines.Err()
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	return sets, nil
}

// assign carries out map[key]=value.
func assign(coll engine.Collection, img *image.Image, set string) error {
	name, rest, ok := strings.Cut(set, "[")
	key, text, ok2 := strings.Cut(rest, "]=")
	if !ok || !ok2 || name == "" {
		return ui.Usagef("it is not map[key]=value")
	}
	m := img.Map(name)
	if m == nil {
		return fmt.Errorf("no map %s: %s", name, ui.There(mapNames(img)))
	}
	if m.KeySize == 0 {
		return fmt.Errorf("maps of type %v have no keys", m.Type)
	}
	k, err := btfval.Parse(m.Key, int(m.KeySize), key, img.ByteOrder)
	if err != nil {
		return fmt.Errorf("key: %w", err)
	}
	text = strings.TrimSpace(text)
	target := coll.Map(m)
	if target == nil {
		return fmt.Errorf("map %s was not made", name)
	}
	switch m.Type {
	case catalog.MapProgArray:
		return assignProgram(coll, img, m, k, text)
	case catalog.MapArrayOfMaps, catalog.MapHashOfMaps:
		inner := img.Map(text)
		if inner == nil {
			return fmt.Errorf("no map %s: %s", text, ui.There(mapNames(img)))
		}
		return coll.SetInner(m, k, inner)
	}
	v, err := btfval.Parse(m.Value, int(m.ValueSize), text, img.ByteOrder)
	if err != nil {
		return fmt.Errorf("value: %w", err)
	}
	if n := target.CPUs(); n > 1 {
		// Each CPU gets it, rounded up to 8 bytes as bpf(2) wants per-CPU values.
		v = append(v, make([]byte, -len(v)&7)...)
		one := v
		for range n - 1 {
			v = append(v, one...)
		}
	} else if target.PerCPU() {
		v = append(v, make([]byte, -len(v)&7)...)
	}
	return target.Update(k, v)
}

// assignProgram puts the program called name into a program array.
func assignProgram(coll engine.Collection, img *image.Image, m *image.Map, key []byte, name string) error {
	p := img.Program(name)
	if p == nil {
		return fmt.Errorf("no program %s: %s", name, ui.There(engine.ProgramNames(img.Programs)))
	}
	loaded, err := coll.Load(p)
	if err != nil {
		return err
	}
	return coll.SetSlot(m, img.ByteOrder.Uint32(key), loaded)
}

// decodes reads map=type assignments: as what type the events of a map are shown.
func decodes(img *image.Image, args []string) (map[*image.Map]btf.Type, error) {
	types := map[*image.Map]btf.Type{}
	for _, arg := range args {
		name, typ, ok := strings.Cut(arg, "=")
		if !ok {
			return nil, ui.Usagef("--decode %s: it is not map=type", arg)
		}
		m := img.Map(name)
		if m == nil {
			return nil, fmt.Errorf("--decode %s: no map %s: %s", arg, name, ui.There(mapNames(img)))
		}
		if m.Type != catalog.MapRingBuf && m.Type != catalog.MapPerfEventArray {
			return nil, fmt.Errorf("--decode %s: map %s is a %s: events are in ringbuf and perf_event_array maps", arg, name, m.Type)
		}
		t := typeByName(img.BTF, typ)
		if t == nil {
			return nil, fmt.Errorf("--decode %s: the object's BTF has no type %s", arg, typ)
		}
		types[m] = t
	}
	return types, nil
}

// typeByName finds a type called "struct x", "union x", "enum x" or plainly "x".
func typeByName(spec *btf.Spec, name string) btf.Type {
	if spec == nil {
		return nil
	}
	kind, rest, ok := strings.Cut(strings.TrimSpace(name), " ")
	if !ok {
		kind, rest = "", kind
	}
	types, err := spec.AnyTypesByName(strings.TrimSpace(rest))
	if err != nil {
		return nil
	}
	for _, t := range types {
		switch t.(type) {
		case *btf.Struct:
			ok = kind == "struct"
		case *btf.Union:
			ok = kind == "union"
		case *btf.Enum:
			ok = kind == "enum"
		case *btf.Int, *btf.Float, *btf.Typedef:
			ok = false
		default:
			continue
		}
		if ok || kind == "" {
			return t
		}
	}
	return nil
}

// mapNames are the maps the object declares.
func mapNames(img *image.Image) []string {
	var names []string
	for _, m := range img.Maps {
		if m.Kind == image.KindDefined {
			names = append(names, m.Name)
		}
	}
	return names
}
