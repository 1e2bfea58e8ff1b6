package skep

import (
	"fmt"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/helpers"
	"github.com/skep-bpf/skep/internal/jit"
	"github.com/skep-bpf/skep/internal/maps"
	"github.com/skep-bpf/skep/internal/testrun"
)

// HaveMapType says whether maps of a type can be made: nil, or an error that
// wraps [ErrNotSupported].
func HaveMapType(t MapType) error {
	if maps.Supported(t) {
		return nil
	}
	return fmt.Errorf("maps of type %v: %w", t, ErrNotSupported)
}

// HaveProgramType says whether programs of a type can be run, by a test run or
// a hook: nil, or an error that wraps [ErrNotSupported]. All types can be verified.
func HaveProgramType(t ProgramType) error {
	if row := catalog.ProgKindByType(t); testrun.Can(t) || row != nil && row.Flags&catalog.HookOnly != 0 {
		return nil
	}
	return fmt.Errorf("programs of type %v cannot be run by themselves: %w", t, ErrNotSupported)
}

// HaveNativeCode says whether programs can run as native code here, as they do
// unless [MachineOptions].JIT forbids it: nil, or an error that names what the
// system lacks or forbids. Without it they are interpreted.
func HaveNativeCode() error { return jit.Available() }

// HelperLack says why programs that call the helper with this number do not run
// in user space: "needs a hierarchy of cgroups". It is "" for those that do.
func HelperLack(id uint32) string { return helpers.Unimplemented[catalog.HelperID(id)] }
