// Package oracle says what happens to a test whose oracle (the live kernel's
// bpf(2), clang, llvm-objdump, tcpdump, …) is not there: it is skipped with the
// reason, or, where SKEP_ORACLES=required, it fails. No test skips in silence.
package oracle

import (
	"errors"
	"io/fs"
	"math/bits"
	"os"
	"os/exec"
	"testing"
)

// Env is the environment variable that turns skips into failures when it is "required".
const Env = "SKEP_ORACLES"

// Need ends the test unless err is nil: err says why the oracle named what cannot be asked.
func Need(t testing.TB, what string, err error) {
	t.Helper()
	if err == nil {
		return
	}
	if os.Getenv(Env) == "required" {
		t.Fatalf("%s is required (%s=required) and not to be had: %v", what, Env, err)
	}
	t.Skipf("not compared with %s: %v", what, err)
}

// DeclTags ends a test on 32-bit systems, where cilium/ebpf cannot read BTF with declaration tags of whole types,
// as that of kernels with kernel functions is.
func DeclTags(t testing.TB) {
	t.Helper()
	if bits.UintSize == 32 {
		t.Skip("no BTF with declaration tags of whole types on 32-bit systems: cilium/ebpf says \"index exceeds int\"")
	}
}

// Tool returns the path of the first of the named commands that is installed,
// and ends the test if none is.
func Tool(t testing.TB, names ...string) string {
	t.Helper()
	err := errors.New("no name given")
	for _, n := range names {
		var p string
		if p, err = exec.LookPath(n); err == nil {
			return p
		}
		// Debian keeps some of them out of an ordinary user's PATH.
		if p, err2 := exec.LookPath("/usr/sbin/" + n); err2 == nil {
			return p
		} else if !errors.Is(err2, fs.ErrNotExist) && !errors.Is(err2, exec.ErrNotFound) {
			err = err2
		}
	}
	Need(t, names[0], err)
	return ""
}
