package loadprog

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep/image"
	"github.com/skep-bpf/skep/internal/catalog"
)

// OpsValue is what the value of an object's struct_ops map is set to: its members carried over into the kernel's
// layout by their names, functions as what number says of their programs (a descriptor, or an id).
func OpsValue(m *image.Map, d *catalog.OpsDef, number func(*image.Program) (uint64, error)) ([]byte, error) {
	value := make([]byte, d.Value.Size)
	for _, mine := range m.StructOps.Type.Members {
		size, err := btf.Sizeof(mine.Type)
		off := int(mine.Offset.Bytes())
		if err != nil || off+size > len(m.Data) {
			return nil, fmt.Errorf("member %s: it has no size", mine.Name)
		}
		data := m.Data[off : off+size]
		prog := m.StructOps.Program(uint32(off))
		theirs := memberNamed(d.Struct, mine.Name)
		if theirs == nil {
			if prog != nil || len(bytes.Trim(data, "\x00")) > 0 {
				return nil, fmt.Errorf("member %s: the kernel's struct %s has none of that name", mine.Name, d.Struct.Name)
			}
			continue
		}
		want, err := btf.Sizeof(theirs.Type)
		if err != nil || want != size || mine.BitfieldSize != theirs.BitfieldSize {
			return nil, fmt.Errorf("member %s: it is not of the size that the kernel's struct %s has for it", mine.Name, d.Struct.Name)
		}
		to := value[d.Data+theirs.Offset.Bytes():]
		switch {
		case prog != nil:
			n, err := number(prog)
			if err != nil {
				return nil, fmt.Errorf("member %s: %w", mine.Name, err)
			}
			binary.NativeEndian.PutUint64(to, n)
		case mine.BitfieldSize != 0 && len(bytes.Trim(data, "\x00")) > 0:
			return nil, fmt.Errorf("member %s: bit fields cannot be carried over", mine.Name)
		case mine.BitfieldSize == 0:
			copy(to, data)
		}
	}
	return value, nil
}

func memberNamed(s *btf.Struct, name string) *btf.Member {
	for i := range s.Members {
		if s.Members[i].Name == name {
			return &s.Members[i]
		}
	}
	return nil
}
