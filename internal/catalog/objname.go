package catalog

import "bytes"

// ObjNameLen is the room for the name of a program or a map and the zero behind it (BPF_OBJ_NAME_LEN).
const ObjNameLen = 16

// NameByte reports whether the name of an object may have c.
func NameByte(c byte) bool {
	return c == '_' || c == '.' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// ValidName reports whether a program or a map may have the name.
func ValidName(name string) bool {
	for i := range len(name) {
		if !NameByte(name[i]) {
			return false
		}
	}
	return len(name) < ObjNameLen
}

// ObjName reads the name in a field of fixed size (bpf_obj_name_cpy): the bytes before the
// first zero, which there has to be. What stands behind it is not looked at.
func ObjName(field []byte) (name string, ok bool) {
	b, _, ok := bytes.Cut(field, []byte{0})
	for _, c := range b {
		ok = ok && NameByte(c)
	}
	return string(b), ok
}
