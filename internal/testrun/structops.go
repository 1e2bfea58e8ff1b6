package testrun

import (
	"encoding/binary"
	"fmt"
	"strings"
	"time"

	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/mem"
	"github.com/skep-bpf/skep/internal/run"
)

// dummyOps is the structure whose members are run by hand, and by nobody else.
const dummyOps = "bpf_dummy_ops"

// maxArgs is how many arguments a member has at most (MAX_BPF_FUNC_ARGS).
const maxArgs = 12

// DummyMember returns the member of the structure for tests that a program implements, and the size of the state
// that the members share, in bytes. Other members are not run by hand: EOPNOTSUPP.
func DummyMember(p *run.Program) (*catalog.OpsMember, int, error) {
	src := p.Rewritten.Source
	name, _, _ := strings.Cut(src.AttachTo, ":")
	d := catalog.OpsNamed(src.KernelBTF, name)
	if name != dummyOps || d == nil {
		return nil, 0, fmt.Errorf("members of struct %s are not run by themselves: %w", name, errno.EOPNOTSUPP)
	}
	m := d.Member(src.KernelBTF, int(src.Attach))
	if m == nil || len(m.Proto.Params) == 0 || len(m.Proto.Params) > maxArgs {
		return nil, 0, errno.EINVAL
	}
	state, ok := m.Proto.Params[0].Type.(*btf.Pointer)
	if !ok {
		return nil, 0, errno.EINVAL
	}
	n, err := btf.Sizeof(state.Target)
	return m, n, err
}

// runStructOps follows bpf_struct_ops_test_run: the context is the arguments as 64-bit words. The first is
// not 0 where there is a state, which the program finds and changes in [Input.State], or finds in Data and leaves in DataOut.
func runStructOps(c *run.CPU, p *run.Program, in *Input) (out Output, err error) {
	m, size, err := DummyMember(p)
	if err != nil {
		return out, err
	}
	args := m.Proto.Params
	if len(in.Ctx) != 8*len(args) {
		return out, fmt.Errorf("context of %d bytes: member %s has %d arguments of 8: %w", len(in.Ctx), m.Name, len(args), errno.EINVAL)
	}
	block, err := mem.Alloc(8*maxArgs + size)
	if err != nil {
		return out, err
	}
	defer block.Free()
	b, state := block.Bytes(), block.Bytes()[8*maxArgs:]
	copy(b, in.Ctx)
	for i, a := range args {
		if m.Nullable>>i&1 == 0 && isStructPtr(a.Type) && binary.NativeEndian.Uint64(b[8*i:]) == 0 {
			return out, fmt.Errorf("argument %d of member %s is NULL: %w", i, m.Name, errno.EINVAL)
		}
	}
	if in.State == nil {
		in.State = append([]byte(nil), in.Data...)
	}
	given := binary.NativeEndian.Uint64(b) != 0
	if given {
		if len(in.State) != size {
			return out, fmt.Errorf("a state of %d bytes: it has %d: %w", len(in.State), size, errno.EINVAL)
		}
		copy(state, in.State)
		binary.NativeEndian.PutUint64(b, block.Addr()+8*maxArgs)
	}
	start := time.Now()
	r0, err := c.Run(p, block.Addr(), nil)
	if err != nil {
		return out, err
	}
	out = Output{Ret: uint32(r0), Duration: time.Since(start)}
	if given {
		copy(in.State, state)
		copy(in.DataOut, state)
		out.DataLen = size
	}
	return out, nil
}

func isStructPtr(t btf.Type) bool {
	p, ok := btf.UnderlyingType(t).(*btf.Pointer)
	if !ok {
		return false
	}
	_, ok = btf.UnderlyingType(p.Target).(*btf.Struct)
	return ok
}
