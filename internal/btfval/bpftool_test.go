package btfval

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os/exec"
	"testing"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/linux"
	"github.com/skep-bpf/skep/internal/oracle"
)

// notBpftool is where JSON is meant to differ, or what bpftool cannot be asked.
var notBpftool = map[string]bool{
	"double":                     true, // bpftool: (unsupported-kind
	"bit fields":                 true, // bpftool: strings like "0x1f", without sign or names
	"anonymous union, text, mac": true, // bpftool: members without name are called ""
	"u32 big endian":             true, // needs a machine of that order
	"bit fields big endian":      true,
	"data section":               true, // needs a .bss map
}

// TestBpftool puts values into maps of the live kernel, with their types, and
// compares what bpftool prints of them with JSON.
func TestBpftool(t *testing.T) {
	bpftool := oracle.Tool(t, "bpftool")
	for _, v := range values {
		if notBpftool[v.name] {
			continue
		}
		t.Run(v.name, func(t *testing.T) {
			data := bytesOf(t, v.data)
			m, err := linux.NewMap(&catalog.MapDef{
				Name: "btfval", Type: catalog.MapArray, KeySize: 4, ValueSize: uint32(len(data)), MaxEntries: 1,
				Key: s32, Value: v.typ,
			}, nil)
			oracle.Need(t, "bpf(2)", err)
			defer m.Close()
			if err := m.Update(make([]byte, 4), data, 0); err != nil {
				t.Fatal(err)
			}
			info, err := m.Info()
			if err != nil {
				t.Fatal(err)
			}
			out, err := exec.Command(bpftool, "-j", "map", "dump", "id", fmt.Sprint(info.ID)).Output()
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			var dump []struct {
				Formatted struct{ Value json.RawMessage }
			}
			if err := json.Unmarshal(out, &dump); err != nil || len(dump) != 1 {
				t.Fatalf("%v: %s", err, out)
			}
			if got := JSON(v.typ, data, v.order); !bytes.Equal(got, dump[0].Formatted.Value) {
				t.Errorf("JSON %s, bpftool has %s", got, dump[0].Formatted.Value)
			}
		})
	}
}
