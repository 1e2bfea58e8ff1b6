package run

// Types is a set of BTF types with an id of its own. Who loads something that
// refers to it takes a reference.
type Types interface {
	ID() uint32
	Acquire()
	Close()
}

// KeepTypes has f keep the types that objects bring, for bpf(2) to show. It is called
// before anything is loaded. f returns nil for types it cannot read.
func (m *Machine) KeepTypes(f func(raw []byte) Types) { m.types = f }

// Types are those of an object by their id, with a reference for the caller to
// give back; nil where nobody keeps them.
func (m *Machine) Types(raw []byte) Types {
	if m.types == nil || len(raw) == 0 {
		return nil
	}
	return m.types(raw)
}
