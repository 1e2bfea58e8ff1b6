// Package skeptest lets tests of BPF software run without root and without a
// kernel that has BPF: code built on cilium/ebpf, or anything else that calls
// bpf(2), stays as it is and talks to skep.
//
//	func TestMain(m *testing.M) { skeptest.Main(m) }
//
// The test binary starts itself once more, with its bpf(2) calls intercepted by
// seccomp and served by the process that was there first, which holds a fresh
// machine. Everything else about the tests is as ever: flags, output, exit code,
// profiles, -race. Maps, programs, links and pins below /sys/fs/bpf are the machine's; programs run by
// BPF_PROG_TEST_RUN. Tests are taken to have all capabilities that BPF asks for.
//
// It needs Linux 5.19 or later on amd64 or arm64. Where that is not so, or where
// system calls are intercepted already, Main says so and exits with 0 without running a test; with
// SKEP_ORACLES=required in the environment it exits with 1.
package skeptest

import (
	"fmt"
	"os"
	"testing"

	"github.com/skep-bpf/skep/internal/bpfsys"
	"github.com/skep-bpf/skep/internal/rtnl"
	"github.com/skep-bpf/skep/internal/serve"
)

// servedEnv marks the process that runs the tests.
const servedEnv = "SKEPTEST_SERVED"

// Main runs the tests of a package with bpf(2) served by a fresh machine, and exits.
func Main(m *testing.M) {
	if serve.IsShim() {
		os.Exit(serve.Shim())
	}
	if os.Getenv(servedEnv) != "" {
		os.Exit(m.Run())
	}
	os.Exit(serveTests())
}

// serveTests runs this binary once more, served, and returns its exit code.
func serveTests() int {
	if err := serve.Available(); err != nil {
		return skip(err)
	}
	trace := serve.NewTracePipe()
	devices, sys, done, err := rtnl.NewSystem(serve.MachineOptions{Trace: trace}, nil, os.Stderr)
	if err != nil {
		return skip(err)
	}
	defer done()
	devices.LoopbackUp()
	code, err := serve.Exec(&serve.Options{
		System: sys, Trace: trace, Caps: bpfsys.AllCaps,
		Args:  append([]string{"/proc/self/exe"}, os.Args[1:]...), // wherever it lies
		Env:   append(os.Environ(), servedEnv+"=1"),
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
	})
	if err != nil {
		return skip(err)
	}
	if code == serve.NotBegun {
		return skip(serve.ErrNested)
	}
	return code
}

// skip says why no test ran.
func skip(err error) int {
	fmt.Fprintf(os.Stderr, "skeptest: no test was run: bpf(2) cannot be served here: %v\n", err)
	if os.Getenv("SKEP_ORACLES") == "required" {
		return 1
	}
	return 0
}
