package run

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep/image"
	"github.com/skep-bpf/skep/internal/btfval"
	"github.com/skep-bpf/skep/internal/cli/ui"
)

// setConst carries out name=value on the constants of an image.
func setConst(img *image.Image, text string) error {
	name, value, ok := strings.Cut(text, "=")
	if !ok || name == "" {
		return ui.Usagef("it is not name=value")
	}
	var names []string
	for _, m := range img.Maps {
		section, ok := m.Value.(*btf.Datasec)
		if !ok || m.Kind != image.KindRodata {
			continue
		}
		for _, v := range section.Vars {
			variable, ok := v.Type.(*btf.Var)
			if !ok {
				continue
			}
			if variable.Name != name {
				if !strings.HasPrefix(variable.Name, "_") && !strings.Contains(variable.Name, ".") {
					names = append(names, variable.Name)
				}
				continue
			}
			data, err := btfval.Parse(variable.Type, int(v.Size), value, img.ByteOrder)
			if err != nil {
				return err
			}
			if end := uint64(v.Offset) + uint64(len(data)); end > uint64(len(m.Data)) {
				return fmt.Errorf("it lies beyond the end of %s", m.Name)
			}
			m.Data = slices.Clone(m.Data)
			copy(m.Data[v.Offset:], data)
			return nil
		}
	}
	if len(names) == 0 {
		return fmt.Errorf("the object has no constants")
	}
	return fmt.Errorf("no such constant: there are %s", strings.Join(names, ", "))
}
