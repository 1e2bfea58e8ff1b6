package bpfsys

import (
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/skep-bpf/skep/internal/btfval"
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
)

// maxShown is how long the text of a map becomes before it is cut at an element, in bytes.
const maxShown = 64 << 20

// Show is what reading the file that a map is pinned as gives: its elements by their types (bpffs_map_fops).
// Maps without types, and those of types that have no such text, cannot be opened: EIO.
func (m Map) Show() (string, errno.Errno) {
	d := m.Def()
	row := catalog.MapKindByType(d.Type)
	if d.Value == nil || row.Traits&catalog.Shown == 0 {
		return "", errno.EIO
	}
	var out strings.Builder
	out.WriteString("# WARNING!! The output is for debug purpose only\n# WARNING!! The output format will change\n")
	value := make([]byte, m.ValueSize())
	var key []byte
	for next := make([]byte, d.KeySize); out.Len() < maxShown && m.NextKey(key, next) == nil; {
		key = append(key[:0], next...)
		if m.Lookup(key, value, 0) == nil {
			showElement(&out, d, key, value)
		}
	}
	return out.String(), 0
}

func showElement(out *strings.Builder, d *catalog.MapDef, key, value []byte) {
	if d.Key != nil { // a section has no key
		if catalog.MapKindByType(d.Type).KeySize.Max == 4 { // an index, of whatever type
			fmt.Fprint(out, binary.NativeEndian.Uint32(key))
		} else {
			btfval.Show(out, d.Key, key)
		}
		out.WriteString(": ")
	}
	if !d.PerCPU() {
		btfval.Show(out, d.Value, value)
		out.WriteByte('\n')
		return
	}
	out.WriteString("{\n")
	for cpu := 0; cpu*d.Stride() < len(value); cpu++ {
		fmt.Fprintf(out, "\tcpu%d: ", cpu)
		btfval.Show(out, d.Value, value[cpu*d.Stride():][:d.ValueSize])
		out.WriteByte('\n')
	}
	out.WriteString("}\n")
}
