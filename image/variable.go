package image

import (
	"fmt"

	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep/internal/btfval"
)

// Variable is a global variable of the object, in the map of its section.
type Variable struct {
	Name string
	Map  *Map
	Type btf.Type
	Off  uint32 // in the map's value, bytes
	Size uint32 // bytes
}

// Variables lists the global variables, by map and offset. Static ones are among them.
func (img *Image) Variables() []Variable {
	var vars []Variable
	for _, m := range img.Maps {
		ds, ok := m.Value.(*btf.Datasec)
		if !ok {
			continue
		}
		for _, vsi := range ds.Vars {
			v, ok := vsi.Type.(*btf.Var)
			if ok && uint64(vsi.Offset)+uint64(vsi.Size) <= uint64(m.ValueSize) {
				vars = append(vars, Variable{v.Name, m, v.Type, vsi.Offset, vsi.Size})
			}
		}
	}
	return vars
}

// Variable finds a global variable by name; false if there is none.
func (img *Image) Variable(name string) (Variable, bool) {
	for _, v := range img.Variables() {
		if v.Name == name {
			return v, true
		}
	}
	return Variable{}, false
}

// Bytes returns a copy of the variable's first value.
func (v Variable) Bytes() []byte {
	out := make([]byte, v.Size)
	if v.Map.Data != nil {
		copy(out, v.Map.Data[v.Off:])
	}
	return out
}

// Set changes the variable's first value. It must have the variable's size.
func (v Variable) Set(value []byte) error {
	if len(value) != int(v.Size) {
		return at(v.Map.Name, v.Name, ErrBadConstant, "%d bytes for %d", len(value), v.Size)
	}
	if v.Map.Data == nil {
		v.Map.Data = make([]byte, v.Map.ValueSize)
	}
	copy(v.Map.Data[v.Off:], value)
	return nil
}

// SetConst changes the first value of a global variable, above all that of a
// "const volatile" one, which programs are then verified with. The text is
// read by the variable's type: a number, an enum's name, an address, "text",
// { .member = … }.
func (img *Image) SetConst(name, text string) error {
	v, ok := img.Variable(name)
	if !ok {
		return at("", name, ErrBadConstant, "no such global variable")
	}
	value, err := btfval.Parse(v.Type, int(v.Size), text, img.ByteOrder)
	if err != nil {
		return &Error{Section: v.Map.Name, Symbol: name, Slot: -1, Err: fmt.Errorf("%w: %w", ErrBadConstant, err)}
	}
	return v.Set(value)
}
