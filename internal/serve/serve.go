// Package serve answers the bpf(2) calls of programs that know nothing of it.
//
// A program is started under a seccomp filter whose notifications come here:
// bpf(2), and the few calls without which its descriptors would not look like
// BPF's (files below /sys/fs/bpf, /proc/…/fdinfo, epoll on ring buffers). All other system calls go
// straight to the kernel.
//
//	Exec       starts the program and serves it until it ends
//	shim       in the program's own process, before it: installs the filter
//	Listen     serves whatever programs join, until it is told to stop
//	server     a machine's objects as clients see them: descriptors, names
//	session    the notifications of one program and its children
//	client     one process of it: memory, descriptors, paths
//	store      descriptors handed out: memory files, and when the last is closed
//
// It works for unprivileged users on Linux 5.19 and later, amd64 and arm64.
package serve

import (
	"errors"
	"io"
	"os"

	"github.com/skep-bpf/skep/internal/bpfsys"
)

// Options of Exec.
type Options struct {
	System *bpfsys.System
	// Trace is what programs find in trace_pipe, as System's options have it; nil: the kernel's.
	Trace *TracePipe
	// Machine is the socket of a server to join instead of System; "": none.
	Machine string
	// Caps are what the program is taken to have, whoever runs it.
	Caps bpfsys.Caps
	// Root has the program see itself as user 0, in a user namespace of its own that knows only its own user, with an
	// empty /run of its own. Who is root already is let be.
	Root           bool
	Args           []string // the program and its arguments
	Env            []string // nil: this process's
	Stdin          io.Reader
	Stdout, Stderr io.Writer
}

// ErrNested says that bpf(2) is intercepted already.
var ErrNested = errors.New("another program intercepts system calls here already (a container's seccomp filter, or skep itself)")

// NotBegun is the exit code of a program that could not be intercepted.
const NotBegun = 125

// ServedEnv is in the environment of programs that Exec runs: the socket of their
// machine, or [OwnMachine].
const ServedEnv = "SKEP_EXEC"

// OwnMachine stands for a machine that is there for one program and its children alone.
const OwnMachine = "-"

// shimEnv marks the process that is to install the filter; its value says whether it is in namespaces of its own.
const (
	shimEnv  = "SKEP_EXEC_SHIM"
	shimRoot = "root"
)

// IsShim reports whether this process was started by Exec to become a program
// under its filter: it has to call Shim, and nothing else.
func IsShim() bool { return os.Getenv(shimEnv) != "" }
