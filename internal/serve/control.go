package serve

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/skep-bpf/skep/internal/bpfsys"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/pin"
)

// Beside programs a server answers requests of skep's own commands, on the same
// socket: what bpf(2) has no call for, as devices and the trace pipe. A request
// is a verb with arguments in JSON and open files; a reply is any number of values
// in JSON and then an end, or an error.
//
//	client                        server
//	  joinControl  ─────────────▶          a byte: this is no program
//	               ◀─────────────  0       a byte: it is served
//	  request and files ────────▶
//	               ◀─────────────  value
//	               ◀─────────────  value
//	               ◀─────────────  end
//
// All of these but the first two are pieces: a byte that says which kind, and text. What is
// longer than a piece is sent in several of the kind pieceMore and a last one. A client that hangs
// up ends a request that waits.

// Request is what a command asks a server for.
type Request struct {
	Verb  string
	Args  json.RawMessage
	Files []*os.File // the server's own descriptors, closed after the request
	// Names is the server's BPF file system.
	Names Names
}

// Decode reads the arguments into v, a pointer.
func (r *Request) Decode(v any) error { return json.Unmarshal(r.Args, v) }

// Names is the BPF file system of a server, for verbs.
type Names interface {
	// Pin makes a name for an object, Get opens the one behind a name. Paths begin with /sys/fs/bpf.
	Pin(path string, o pin.Object) errno.Errno
	Get(path string) (pin.Object, errno.Errno)
	// Mkdir makes a directory and those above it.
	Mkdir(path string) error
}

// Verb answers one kind of request: send takes the values of the reply. ctx ends
// when the client hangs up or the server ends.
type Verb func(ctx context.Context, r *Request, send func(v any) error) error

// Verbs are what a server answers, by name.
type Verbs map[string]Verb

// Error is a server's refusal of a request as the client sees it.
type Error struct {
	Text  string
	Errno errno.Errno `json:",omitempty"` // of the system call that could have said so, 0: none
}

func (e *Error) Error() string { return e.Text }

// Unwrap returns the number.
func (e *Error) Unwrap() error {
	if e.Errno == 0 {
		return nil
	}
	return e.Errno
}

// refusal is how an error crosses the socket.
func refusal(err error) *Error {
	e := &Error{Text: err.Error()}
	var n errno.Errno
	if errors.As(err, &n) {
		e.Errno = n
	}
	return e
}

// noMachine says why nobody answers at a socket, and what to do.
func noMachine(path string, err error) error {
	switch {
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("%s: %w: the machine is another user's", path, os.ErrPermission)
	case errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("no skep serve listens at %s: %w: begin with skep serve %s", path, os.ErrNotExist, path)
	case notSocket(path):
		return fmt.Errorf("%s: that is no socket, on which a skep serve could listen", path)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("no skep serve listens at %s: %w: it has ended: begin with skep serve %s", path, syscall.ECONNREFUSED, path)
	}
	return fmt.Errorf("no skep serve listens at %s: %w", path, err)
}

func notSocket(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.Mode().Type() != os.ModeSocket
}

// MachineEnv names the environment variable with the socket of the machine to join.
const MachineEnv = "SKEP_MACHINE"

// MachineFromEnv is the socket of the machine that the environment names, of the one that
// serves this process, or else of the user's [Default]; "": there is none, or it has no socket.
func MachineFromEnv() string {
	if path := os.Getenv(MachineEnv); path != "" {
		return path
	}
	switch path := os.Getenv(ServedEnv); path {
	case OwnMachine:
		return ""
	case "":
		return Default()
	default:
		return path
	}
}

// DefaultPath is where a user's skep serve listens that is told no path: in a directory of the user's own.
func DefaultPath() string {
	if dir := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "skep", "machine")
	}
	return filepath.Join(os.TempDir(), fmt.Sprintf("skep-%d", os.Geteuid()), "machine")
}

// Default is DefaultPath where something is there, and nobody else can have put it there; "" where not.
func Default() string {
	path := DefaultPath()
	if _, err := os.Lstat(path); err != nil || private(filepath.Dir(path)) != nil {
		return ""
	}
	return path
}

// MakeDefault makes the directory of DefaultPath.
func MakeDefault() error {
	dir := filepath.Dir(DefaultPath())
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return private(dir)
}

// errNotPrivate is of a directory in which others can put something.
var errNotPrivate = errors.New("it is not a directory that is this user's alone (mode 0700): name another path")

// ListenOptions shape Listen.
type ListenOptions struct {
	System *bpfsys.System
	Path   string
	Caps   bpfsys.Caps // at most these
	Verbs  Verbs       // what commands may ask for
	Trace  *TracePipe  // what programs find in trace_pipe, as System's options have it; nil: the kernel's
	Stop   <-chan struct{}
	Ready  func() // called when programs may come
}
