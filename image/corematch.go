package image

import (
	"reflect"

	"github.com/cilium/ebpf/btf"
)

// fieldsCompatible reports whether an access to a field may be redirected to
// one of another type (libbpf: bpf_core_fields_are_compat): structs and unions
// go together, so do any two integers, pointers or floats; enums and forward
// declarations by name; arrays by their elements.
func fieldsCompatible(local, target btf.Type) bool {
	local, target = btf.UnderlyingType(local), btf.UnderlyingType(target)
	if membersKind(local) && membersKind(target) {
		return true
	}
	if reflect.TypeOf(local) != reflect.TypeOf(target) {
		return false
	}
	switch local := local.(type) {
	case *btf.Pointer, *btf.Float, *btf.Int:
		return true
	case *btf.Enum, *btf.Fwd:
		a, b := essentialName(local.TypeName()), essentialName(target.TypeName())
		return a == "" || b == "" || a == b
	case *btf.Array:
		return fieldsCompatible(local.Type, target.(*btf.Array).Type)
	}
	return false
}

func membersKind(t btf.Type) bool {
	switch t.(type) {
	case *btf.Struct, *btf.Union:
		return true
	}
	return false
}

// typesMatch reports whether target has everything that local declares, with
// the same layout of its parts (libbpf: __bpf_core_types_match): integers by
// size and sign, enums by their values' names, structs by their members, and
// only by name behind a pointer.
func typesMatch(local, target btf.Type, behindPtr bool, depth int) bool {
	if depth == 0 {
		return false
	}
	local, target = btf.UnderlyingType(local), btf.UnderlyingType(target)
	if essentialName(local.TypeName()) != essentialName(target.TypeName()) {
		return false
	}
	if l, ok := local.(*btf.Fwd); ok && behindPtr {
		return l.Kind == fwdKind(target)
	}
	if _, ok := target.(*btf.Fwd); ok && behindPtr && membersKind(local) {
		return fwdKind(local) == fwdKind(target)
	}
	if reflect.TypeOf(local) != reflect.TypeOf(target) {
		return false
	}
	switch l := local.(type) {
	case *btf.Void:
		return true
	case *btf.Fwd:
		return l.Kind == target.(*btf.Fwd).Kind
	case *btf.Int:
		t := target.(*btf.Int)
		return l.Size == t.Size && (l.Encoding == btf.Signed) == (t.Encoding == btf.Signed)
	case *btf.Enum:
		return enumsMatch(l, target.(*btf.Enum))
	case *btf.Struct, *btf.Union:
		return behindPtr || membersMatch(membersOf(local), membersOf(target), depth-1)
	case *btf.Pointer:
		return typesMatch(l.Target, target.(*btf.Pointer).Target, true, depth-1)
	case *btf.Array:
		t := target.(*btf.Array)
		return l.Nelems == t.Nelems && typesMatch(l.Type, t.Type, behindPtr, depth-1)
	case *btf.FuncProto:
		t := target.(*btf.FuncProto)
		if len(l.Params) != len(t.Params) {
			return false
		}
		for i := range l.Params {
			if !typesMatch(l.Params[i].Type, t.Params[i].Type, behindPtr, depth-1) {
				return false
			}
		}
		return typesMatch(l.Return, t.Return, behindPtr, depth-1)
	}
	return false
}

// noFwd is a value no btf.FwdKind has.
const noFwd btf.FwdKind = -1

// fwdKind returns which forward declaration stands for a type.
func fwdKind(t btf.Type) btf.FwdKind {
	switch t := t.(type) {
	case *btf.Fwd:
		return t.Kind
	case *btf.Struct:
		return btf.FwdStruct
	case *btf.Union:
		return btf.FwdUnion
	}
	return noFwd
}

func enumsMatch(local, target *btf.Enum) bool {
	if local.Size != target.Size || len(local.Values) > len(target.Values) {
		return false
	}
	names := map[string]bool{}
	for _, v := range target.Values {
		names[essentialName(v.Name)] = true
	}
	for _, v := range local.Values {
		if !names[essentialName(v.Name)] {
			return false
		}
	}
	return true
}

func membersMatch(local, target []btf.Member, depth int) bool {
	if len(local) > len(target) {
		return false
	}
next:
	for _, l := range local {
		for _, t := range target {
			if essentialName(l.Name) == essentialName(t.Name) && typesMatch(l.Type, t.Type, false, depth) {
				continue next
			}
		}
		return false
	}
	return true
}
