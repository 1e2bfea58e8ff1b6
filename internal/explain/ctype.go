package explain

import (
	"fmt"

	"github.com/cilium/ebpf/btf"
)

// ctype prints a type as C declares a variable of it, as far as an argument needs.
func ctype(t btf.Type) string {
	switch t := t.(type) {
	case *btf.Pointer:
		return ctype(t.Target) + " *"
	case *btf.Struct:
		return "struct " + t.Name
	case *btf.Union:
		return "union " + t.Name
	case *btf.Enum:
		return "enum " + t.Name
	case *btf.Fwd:
		return "struct " + t.Name
	case *btf.Const:
		return "const " + ctype(t.Type)
	case *btf.Volatile:
		return ctype(t.Type)
	case *btf.TypeTag:
		return ctype(t.Type)
	case *btf.Array:
		return fmt.Sprintf("%s [%d]", ctype(t.Type), t.Nelems)
	case *btf.FuncProto:
		return "a function"
	case *btf.Void:
		return "void"
	}
	return t.TypeName()
}

func protoOf(f *btf.Func) *btf.FuncProto {
	p, _ := f.Type.(*btf.FuncProto)
	return p
}
