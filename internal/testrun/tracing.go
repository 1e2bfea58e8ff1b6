package testrun

import (
	"fmt"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/mem"
	"github.com/skep-bpf/skep/internal/run"
)

// testFunc is a call of a function that the kernel has for such tests.
type testFunc struct {
	name   string
	args   []uint64
	result uint32 // when nobody changes it
}

// atNumber among args stands for the address of a number.
const atNumber = ^uint64(0)

// fentryTests are called, in this order, for fentry and fexit programs.
var fentryTests = [...]testFunc{
	{"bpf_fentry_test1", []uint64{1}, 2},
	{"bpf_fentry_test2", []uint64{2, 3}, 5},
	{"bpf_fentry_test3", []uint64{4, 5, 6}, 15},
	{"bpf_fentry_test4", []uint64{7, 8, 9, 10}, 34},
	{"bpf_fentry_test5", []uint64{11, 12, 13, 14, 15}, 65},
	{"bpf_fentry_test6", []uint64{16, 17, 18, 19, 20, 21}, 111},
	{"bpf_fentry_test7", []uint64{0}, 0},
	{"bpf_fentry_test8", []uint64{atNumber}, 0},
	{"bpf_fentry_test9", []uint64{atNumber}, 0},
	{"bpf_fentry_test10", []uint64{0}, 0},
}

// modifyTests are called for fmod_ret programs. Each adds 1 to its number, which is 2, before it adds up all it has.
var modifyTests = [...]testFunc{
	{"bpf_modify_return_test", []uint64{1, atNumber}, 4},
	{"bpf_modify_return_test2", []uint64{1, atNumber, 3, 4, 5, 6, 7}, 29},
}

// runTracing follows bpf_prog_test_run_tracing: it calls functions of the kernel's, and what is attached to them runs. Of
// fmod_ret programs it returns the sum of results, of 16 bits, and above it how many functions were not kept from what they do.
func runTracing(c *run.CPU, p *run.Program, in *Input) (out Output, err error) {
	if in.Flags != 0 || in.CPU != 0 {
		return out, fmt.Errorf("a tracing program takes no flags and no CPU: %w", errno.EINVAL)
	}
	block, err := mem.Alloc(8)
	if err != nil {
		return out, err
	}
	defer block.Free()
	call := func(f *testFunc, begin uint32, body func()) (uint32, error) {
		mem.Store64(block.Addr(), uint64(begin))
		args := make([]uint64, len(f.args))
		for i, a := range f.args {
			if args[i] = a; a == atNumber {
				args[i] = block.Addr()
			}
		}
		r, err := c.CallKernel(f.name, args, func() uint64 { body(); return uint64(f.result) })
		return uint32(r), err
	}
	switch p.Info.Attach {
	case catalog.AttachTraceFEntry, catalog.AttachTraceFExit:
		for i := range fentryTests {
			f := &fentryTests[i]
			r, err := call(f, 0, func() {})
			if err != nil {
				return out, err
			}
			if r != f.result {
				return out, fmt.Errorf("%s was made to return %d: %w", f.name, int32(r), errno.EFAULT)
			}
		}
	case catalog.AttachModifyReturn:
		var sum uint16
		effects := uint32(0)
		for i := range modifyTests {
			r, err := call(&modifyTests[i], 2, func() { mem.Store32(block.Addr(), 3); effects++ })
			if err != nil {
				return out, err
			}
			sum += uint16(r)
		}
		out.Ret = effects<<16 | uint32(sum)
	default:
		return out, fmt.Errorf("tracing programs of attach type %s have no functions to be tested with: %w", p.Info.Attach, errno.EFAULT)
	}
	return out, nil
}
