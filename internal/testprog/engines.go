package testprog

import (
	"testing"

	"github.com/skep-bpf/skep"
)

// EachEngine is the body of a TestMain that runs all tests in checked mode, and
// then on native code where there is any. The options are those machines of the tests take their engine from.
func EachEngine(m *testing.M, engine *skep.MachineOptions) (code int) {
	*engine = skep.MachineOptions{Checked: true}
	code = m.Run()
	native := skep.MachineOptions{CPUs: 1, JIT: skep.JITOn}
	if probe, err := skep.NewMachine(&native); err == nil {
		probe.Close()
		*engine = skep.MachineOptions{JIT: skep.JITOn}
		code = max(code, m.Run())
	}
	return code
}
