// Package linux is the real kernel behind the same verbs: maps, program loads,
// test runs and object information through raw bpf(2).
//
// It is the second engine of skep and the oracle tests compare
// with, so it hands the kernel exactly what it is given, byte for
// byte, and brings back exactly what the kernel said: the errno, the log, the
// value. Nothing is retried, guessed or repaired on the way, but for what the
// doc of a function names.
//
// Errors of refused commands wrap an [errno.Errno]. On systems without
// Linux's bpf(2) every function fails with an error that is
// [errors.ErrUnsupported].
package linux

import (
	"fmt"
	"sync"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/isa"
)

// command is the first argument of bpf(2), enum bpf_cmd.
type command uint32

const (
	cmdMapCreate            command = 0
	cmdMapLookup            command = 1
	cmdMapUpdate            command = 2
	cmdMapDelete            command = 3
	cmdMapNextKey           command = 4
	cmdProgLoad             command = 5
	cmdProgTestRun          command = 10
	cmdObjGetInfo           command = 15
	cmdBTFLoad              command = 18
	cmdMapLookupDelete      command = 21
	cmdMapFreeze            command = 22
	cmdMapLookupBatch       command = 24
	cmdMapLookupDeleteBatch command = 25
	cmdMapUpdateBatch       command = 26
	cmdMapDeleteBatch       command = 27
)

var commandNames = map[command]string{
	cmdMapCreate: "MAP_CREATE", cmdMapLookup: "MAP_LOOKUP_ELEM", cmdMapUpdate: "MAP_UPDATE_ELEM",
	cmdMapDelete: "MAP_DELETE_ELEM", cmdMapNextKey: "MAP_GET_NEXT_KEY", cmdProgLoad: "PROG_LOAD",
	cmdProgTestRun: "PROG_TEST_RUN", cmdObjGetInfo: "OBJ_GET_INFO_BY_FD", cmdBTFLoad: "BTF_LOAD",
	cmdMapLookupDelete: "MAP_LOOKUP_AND_DELETE_ELEM", cmdMapFreeze: "MAP_FREEZE",
	cmdMapLookupBatch: "MAP_LOOKUP_BATCH", cmdMapLookupDeleteBatch: "MAP_LOOKUP_AND_DELETE_BATCH",
	cmdMapUpdateBatch: "MAP_UPDATE_BATCH", cmdMapDeleteBatch: "MAP_DELETE_BATCH",
}

// Error is a command bpf(2) refused.
type Error struct {
	Command string // as in the uapi, without BPF_: "PROG_LOAD"
	Errno   errno.Errno
	Log     string // what verifier or BTF loader wrote, if anything
}

// Error gives the command, the words of the errno and the log's last line but
// statistics.
func (e *Error) Error() string {
	if line := lastLine(e.Log); line != "" {
		return fmt.Sprintf("bpf(%s): %v: %s", e.Command, e.Errno, line)
	}
	return fmt.Sprintf("bpf(%s): %v", e.Command, e.Errno)
}

// Unwrap gives the errno, for errors.Is(err, errno.EACCES).
func (e *Error) Unwrap() error { return e.Errno }

// Format adds the whole log on %+v.
func (e *Error) Format(f fmt.State, verb rune) {
	fmt.Fprint(f, e.Error())
	if verb == 'v' && f.Flag('+') && e.Log != "" {
		fmt.Fprintf(f, "\n%s", e.Log)
	}
}

// Available reports why bpf(2) cannot be used here, or nil when it can: it
// loads the smallest program there is, once per process.
var Available = sync.OnceValue(func() error {
	p, err := Load(&Prog{
		Type:    catalog.ProgSocketFilter,
		Insns:   isa.Program(isa.Mov64Imm(isa.R0, 0), isa.ExitInsn()),
		License: "GPL",
	})
	if err != nil {
		return fmt.Errorf("the kernel does not let this process load programs: %w", err)
	}
	return p.Close()
})
