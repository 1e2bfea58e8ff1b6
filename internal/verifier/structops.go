package verifier

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
)

// opsMember is the member of a kernel structure that a struct_ops program implements.
type opsMember struct {
	row    *catalog.StructOps
	name   string
	writes []opsWrite
	args   catalog.OpsArgs
	refs   [funcArgs]uint32 // ids of the references that come with arguments, while the program runs
}

// opsWrite is a field that may be stored into: in t, from start to end.
type opsWrite struct {
	t          *btfType
	start, end uint32
	inside     bool
}

// findMember looks up the member the program implements (check_struct_ops_btf_id).
func (e *env) findMember() *Error {
	if !e.p.GPL {
		return e.refuse(errno.EINVAL, "struct ops programs must have a GPL compatible license")
	}
	if e.p.AttachTo == "" {
		return e.silent(errno.ENOTSUPP, "the program implements no member of a kernel structure")
	}
	if e.p.KernelBTF == nil {
		return e.unsupported("members of kernel structs without kernel BTF")
	}
	name, member, named := strings.Cut(e.p.AttachTo, ":")
	ops := e.kernelStruct(name)
	if ops == nil {
		return e.unsupported("struct %s, which the kernel's BTF does not have", name)
	}
	if e.kernelStruct("bpf_struct_ops_"+name) == nil {
		return e.refuse(errno.ENOTSUPP, "attach_btf_id %d is not a supported struct", ops.id)
	}
	ms, _, _ := members(ops.typ)
	idx := int(e.p.Attach)
	if named {
		if idx = slices.IndexFunc(ms, func(m btf.Member) bool { return m.Name == member }); idx < 0 {
			return e.unsupported("member %s of struct %s, which the kernel's BTF does not have", member, name)
		}
	}
	if idx >= len(ms) {
		return e.refuse(errno.EINVAL, "attach to invalid member idx %d of struct %s", idx, name)
	}
	m := &ms[idx]
	proto := catalog.FuncOf(m.Type)
	if proto == nil {
		return e.refuse(errno.EINVAL, "attach to invalid member %s(@idx %d) of struct %s", m.Name, idx, name)
	}
	row := catalog.StructOpsByName(name)
	if !row.Takes(m.Name) {
		return e.refuse(errno.ENOTSUPP, "attach to unsupported member %s of struct %s", m.Name, name)
	}
	if e.sleepable() && !row.MaySleep(m.Name) {
		return e.refuse(errno.EINVAL, "attach to unsupported member %s of struct %s", m.Name, name)
	}
	e.ops = &opsMember{row: row, name: m.Name}
	e.target = &target{name: m.Name, hook: m.Name, proto: proto, named: proto, trusted: true}
	clear(e.facts.helpers) // each structure has its own
	e.readStub(proto)
	if e.ops.args.Owned != 0 && slices.ContainsFunc(e.subs, func(s subprog) bool { return s.hasTail }) {
		return e.refuse(errno.EINVAL, "program with __ref argument cannot tail call")
	}
	return e.findWrites()
}

// readStub reads from the kernel's function for the member what the names of
// its arguments say.
func (e *env) readStub(proto *btf.FuncProto) {
	args, found := e.ops.row.Args(e.p.KernelBTF, e.ops.name, proto)
	if !found {
		return
	}
	e.ops.args = args
	special := make([]string, len(proto.Params))
	for i := range special {
		switch {
		case args.Nullable>>i&1 != 0:
			special[i] = "nt"
		case args.Owned>>i&1 != 0:
			special[i] = "t"
		}
	}
	e.target.special = special
}

// findWrites places the fields that may be stored into.
func (e *env) findWrites() *Error {
	for _, f := range e.ops.row.Writes {
		t := e.kernelStruct(f.Struct)
		if t == nil {
			continue
		}
		start, size, ok := fieldAt(t.typ, f.Path)
		if !ok {
			continue // another release's
		}
		e.ops.writes = append(e.ops.writes, opsWrite{t: t, start: start + f.Skip, end: start + size - f.Short, inside: f.Inside})
	}
	return nil
}

// fieldAt finds a field by the path of its members, in bytes.
func fieldAt(t btf.Type, path string) (off, size uint32, ok bool) {
	for _, name := range strings.Split(path, ".") {
		ms, _, _ := members(btf.UnderlyingType(t))
		i := slices.IndexFunc(ms, func(m btf.Member) bool { return m.Name == name })
		if i < 0 {
			return 0, 0, false
		}
		off += ms[i].Offset.Bytes()
		t = ms[i].Type
	}
	n, err := btf.Sizeof(t)
	return off, uint32(n), err == nil
}

// storeOps checks a store into a kernel struct by the rules of the structure
// whose member the program implements (btf_struct_access).
func (e *env) storeOps(a access, r *reg, off int) *Error {
	row := e.ops.row
	say := func(format string, end uint32) *Error {
		if row.Silent {
			return e.silent(errno.EACCES, "the program may not write this field")
		}
		words := format
		if strings.Contains(format, "%") {
			words = fmt.Sprintf(format, off, a.size, r.btf.name, end)
		}
		err := e.refuse(errno.EACCES, "%s", words)
		err.Reason = "only read is supported" // as other stores into kernel structs
		return err
	}
	known := false
	for _, w := range e.ops.writes {
		if w.t != r.btf {
			continue
		}
		_, total, _ := members(w.t.typ)
		if !known && row.PastStruct != "" && off+a.size > int(total) {
			return say(row.PastStruct, total)
		}
		known = true
		if off != int(w.start) && !(w.inside && off > int(w.start) && off < int(w.end)) {
			continue
		}
		if off+a.size > int(w.end) {
			return say(row.PastField, w.end)
		}
		return nil
	}
	if !known {
		return say(row.OtherStruct, 0)
	}
	return say(row.OtherField, 0)
}

// acquireArgs takes the references that come with the arguments.
func (e *env) acquireArgs() {
	for i := range e.ops.refs {
		if e.ops.args.Owned>>i&1 != 0 {
			e.ops.refs[i] = e.newID()
			e.st.refs = append(e.st.refs, ref{kind: refPtr, id: e.ops.refs[i]})
		}
	}
}

// castArg says what struct an argument points to in truth (is_valid_access),
// and which reference came with it.
func (e *env) castArg(arg int, dst *reg, off int) *Error {
	if to := e.ops.row.Casts[dst.btf.name]; to != "" && dst.typ&unsafeFlags == 0 {
		if t := e.kernelStruct(to); t != nil {
			dst.btf = t
		}
	}
	id := e.ops.refs[arg]
	if id == 0 {
		return nil
	}
	if !e.st.hasRef(id) {
		return e.refuse(errno.EACCES, "invalid bpf_context access off=%d. Reference may already be released", off)
	}
	dst.ref = id
	return nil
}

// loadOpsArg loads an argument that points to something else than its type says.
func (e *env) loadOpsArg(a access, off int) bool {
	special := e.ops.row.Arg
	if special.Struct == "" || special.Member != e.ops.name || e.target.arg(off) != special.No {
		return false
	}
	t := e.kernelStruct(special.Struct)
	if t == nil {
		return false
	}
	if a.val != noReg {
		dst := &e.regs()[a.val]
		dst.setPtr(ptrToBTF | trusted)
		dst.btf = t
	}
	return true
}

// helper is the row of a helper as a member sees it, given that of the program type.
func (m *opsMember) helper(id catalog.HelperID, row *catalog.Helper) *catalog.Helper {
	if !m.row.Calls(id, m.name) {
		return nil
	}
	return row
}

// returnedObject reports whether R0 is an object that the program gives back to
// the kernel whole: a reference of the type the member returns.
func (e *env) returnedObject(r *reg) bool {
	if e.ops == nil || r.typ.base() != ptrToBTF || r.ref == 0 {
		return false
	}
	t := e.memberReturns()
	return t != nil && r.btf.typ == t
}

// memberReturns is the type that the member returns a pointer to, or nil.
func (e *env) memberReturns() btf.Type {
	if p, ok := btf.UnderlyingType(e.target.proto.Return).(*btf.Pointer); ok {
		return btf.UnderlyingType(p.Target)
	}
	return nil
}
