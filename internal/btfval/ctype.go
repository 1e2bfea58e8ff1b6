package btfval

import (
	"fmt"

	"github.com/cilium/ebpf/btf"
)

// cName is a type as a C programmer writes it, for errors: "struct counter",
// "unsigned int", "__u8[4]", "a pointer".
func cName(t btf.Type) string {
	switch t := t.(type) {
	case *btf.Struct:
		return tagged("struct", t.Name)
	case *btf.Union:
		return tagged("union", t.Name)
	case *btf.Enum:
		return tagged("enum", t.Name)
	case *btf.Datasec:
		return "section " + t.Name
	case *btf.Array:
		return fmt.Sprintf("%s[%d]", cName(t.Type), t.Nelems)
	case *btf.Pointer:
		return "a pointer"
	case *btf.Typedef:
		return t.Name
	}
	if under := btf.UnderlyingType(t); under != t {
		return cName(under)
	}
	if name := t.TypeName(); name != "" {
		return name
	}
	return fmt.Sprint(t)
}

// tagged is a struct, union or enum by its tag, if it has one.
func tagged(kind, tag string) string {
	if tag == "" {
		return kind + " { … }"
	}
	return kind + " " + tag
}
