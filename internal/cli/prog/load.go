package prog

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/skep-bpf/skep/image"
	"github.com/skep-bpf/skep/internal/cli/objects"
	"github.com/skep-bpf/skep/internal/cli/ui"
	"github.com/skep-bpf/skep/internal/linux"
)

// loadOptions are the words of load and loadall.
type loadOptions struct {
	objects.LoadOptions
	file, path string
	pinMaps    string
	autoAttach bool
}

func load(v *objects.Verb) error    { return loadAs(v, false) }
func loadAll(v *objects.Verb) error { return loadAs(v, true) }

func loadAs(v *objects.Verb, all bool) error {
	o := loadOptions{LoadOptions: objects.LoadOptions{Reuse: map[int]*linux.Object{}}}
	var err error
	if o.file, err = v.Next("OBJ, the object file"); err != nil {
		return err
	}
	if o.path, err = v.Next("PATH, where to pin"); err != nil {
		return err
	}
	img, err := v.ReadObject(o.file)
	if err != nil {
		return err
	}
	if len(img.Programs) == 0 {
		return fmt.Errorf("%s: it holds no programs", o.file)
	}
	defer func() {
		for _, m := range o.Reuse {
			m.Close()
		}
	}()
	for v.Len() > 0 {
		if err := o.word(v, img); err != nil {
			return err
		}
	}
	l, err := v.Load(img, &o.LoadOptions)
	if err != nil {
		return fmt.Errorf("%s: %w", o.file, err)
	}
	defer l.Close()
	pins := v.NewPins()
	if err := o.pin(v, l, pins, all); err != nil {
		pins.Undo()
		return err
	}
	return v.Done()
}

// word takes one option with its arguments.
func (o *loadOptions) word(v *objects.Verb, img *image.Image) (err error) {
	switch {
	case v.Take("type"):
		name, err := v.Next("TYPE")
		if err != nil {
			return err
		}
		o.Kind, o.Section, err = objects.TypeByName(name)
		return err
	case v.Take("map"):
		return o.reuse(v, img)
	case v.Take("dev"), v.Take("offload_dev"):
		return o.device(v)
	case v.Take("xdpmeta_dev"):
		o.Flags = devBoundOnly
		return o.device(v)
	case v.Take("pinmaps"):
		o.pinMaps, err = v.Next("MAP_DIR")
		return err
	case v.Take("autoattach"):
		o.autoAttach = true
		return nil
	}
	return ui.Usagef("%q: there are type, map, offload_dev, xdpmeta_dev, pinmaps and autoattach", v.Peek())
}

// devBoundOnly has a program run on the CPU, but be for one device (BPF_F_XDP_DEV_BOUND_ONLY).
const devBoundOnly = 1 << 6

// device takes the name of the device to load for.
func (o *loadOptions) device(v *objects.Verb) (err error) {
	o.IfIndex, err = v.Interface()
	return err
}

// reuse takes { idx N | name NAME } MAP: a map of the system's instead of the object's.
func (o *loadOptions) reuse(v *objects.Verb, img *image.Image) error {
	var i int
	switch {
	case v.Take("idx"):
		n, err := v.Uint("idx", 31)
		if err != nil {
			return err
		}
		if i = int(n); i >= len(img.Maps) {
			return fmt.Errorf("map idx %d: %s has %d maps", i, o.file, len(img.Maps))
		}
	case v.Take("name"):
		name, err := v.Next("NAME")
		if err != nil {
			return err
		}
		i = slices.IndexFunc(img.Maps, func(m *image.Map) bool { return m.Name == name || objects.PinName(m) == name })
		if i < 0 {
			return fmt.Errorf("map name %s: %s has none of that name", name, o.file)
		}
	default:
		return ui.Usagef("%q: a map of the object is named by idx or name", v.Peek())
	}
	if o.Reuse[i] != nil {
		return ui.Usagef("map %s is replaced twice", img.Maps[i].Name)
	}
	m, _, err := v.Map()
	if err == nil {
		o.Reuse[i] = m
	}
	return err
}

// pin gives the programs names, or their links where they attach by themselves.
func (o *loadOptions) pin(v *objects.Verb, l *objects.Loaded, pins *objects.Pins, all bool) error {
	if all {
		if err := pins.Mkdir(o.path); err != nil {
			return err
		}
	}
	for i, p := range l.Image.Programs {
		if l.Progs[i] == nil {
			continue
		}
		path := o.path
		if all {
			path = filepath.Join(path, strings.ReplaceAll(p.Name, ".", "_"))
		}
		if err := o.pinOne(v, l, pins, i, path); err != nil {
			return fmt.Errorf("program %s: %w", p.Name, err)
		}
		if !all {
			break // the first one only, as bpftool has it
		}
	}
	if o.pinMaps != "" {
		return l.PinMaps(pins, o.pinMaps)
	}
	return nil
}

func (o *loadOptions) pinOne(v *objects.Verb, l *objects.Loaded, pins *objects.Pins, i int, path string) error {
	if !o.autoAttach {
		return pins.Pin(l.Progs[i].FD(), path)
	}
	link, err := l.AutoAttach(i)
	if err != nil {
		return err
	}
	if link == nil {
		fmt.Fprintf(v.UI.Err, "skep prog: program %s does not attach by itself: it is pinned\n", l.Image.Programs[i].Name)
		return pins.Pin(l.Progs[i].FD(), path)
	}
	defer link.Close()
	return pins.Pin(link.FD(), path)
}
