package catalog

// SpecialKind is a field inside a map value or allocated object that programs
// reach only through helpers (enum btf_field_type).
type SpecialKind uint8

// Kinds of special fields.
const (
	SpecialSpinLock SpecialKind = iota + 1
	SpecialResSpinLock
	SpecialTimer
	SpecialWorkqueue
	SpecialTaskWork
	SpecialKptrUnref
	SpecialKptrRef
	SpecialKptrPerCPU
	SpecialUptr
	SpecialListHead
	SpecialListNode
	SpecialRBRoot
	SpecialRBNode
	SpecialRefcount
)

// SpecialField is where one special field lies in a value.
type SpecialField struct {
	Kind SpecialKind
	Off  uint32
	Size uint32
	BTF  string // pointee or node type, where the kind has one
	Node string // "__contains" member, for heads and roots
}
