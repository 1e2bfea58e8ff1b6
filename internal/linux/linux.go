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
	cmdObjPin               command = 6
	cmdObjGet               command = 7
	cmdProgAttach           command = 8
	cmdProgDetach           command = 9
	cmdProgTestRun          command = 10
	cmdProgNextID           command = 11
	cmdMapNextID            command = 12
	cmdProgByID             command = 13
	cmdMapByID              command = 14
	cmdObjGetInfo           command = 15
	cmdProgQuery            command = 16
	cmdRawTracepointOpen    command = 17
	cmdBTFLoad              command = 18
	cmdBTFByID              command = 19
	cmdTaskFDQuery          command = 20
	cmdMapLookupDelete      command = 21
	cmdMapFreeze            command = 22
	cmdBTFNextID            command = 23
	cmdMapLookupBatch       command = 24
	cmdMapLookupDeleteBatch command = 25
	cmdMapUpdateBatch       command = 26
	cmdMapDeleteBatch       command = 27
	cmdLinkCreate           command = 28
	cmdLinkByID             command = 30
	cmdLinkNextID           command = 31
	cmdEnableStats          command = 32
	cmdLinkDetach           command = 34
	cmdProgBindMap          command = 35
	cmdProgStreamRead       command = 37
)

var commandNames = map[command]string{
	cmdMapCreate: "MAP_CREATE", cmdMapLookup: "MAP_LOOKUP_ELEM", cmdMapUpdate: "MAP_UPDATE_ELEM",
	cmdMapDelete: "MAP_DELETE_ELEM", cmdMapNextKey: "MAP_GET_NEXT_KEY", cmdProgLoad: "PROG_LOAD",
	cmdObjPin: "OBJ_PIN", cmdObjGet: "OBJ_GET", cmdProgAttach: "PROG_ATTACH", cmdProgDetach: "PROG_DETACH",
	cmdProgTestRun: "PROG_TEST_RUN", cmdProgNextID: "PROG_GET_NEXT_ID", cmdMapNextID: "MAP_GET_NEXT_ID",
	cmdProgByID: "PROG_GET_FD_BY_ID", cmdMapByID: "MAP_GET_FD_BY_ID", cmdObjGetInfo: "OBJ_GET_INFO_BY_FD",
	cmdProgQuery: "PROG_QUERY", cmdRawTracepointOpen: "RAW_TRACEPOINT_OPEN",
	cmdBTFLoad: "BTF_LOAD", cmdBTFByID: "BTF_GET_FD_BY_ID", cmdTaskFDQuery: "TASK_FD_QUERY",
	cmdMapLookupDelete: "MAP_LOOKUP_AND_DELETE_ELEM", cmdMapFreeze: "MAP_FREEZE", cmdBTFNextID: "BTF_GET_NEXT_ID",
	cmdMapLookupBatch: "MAP_LOOKUP_BATCH", cmdMapLookupDeleteBatch: "MAP_LOOKUP_AND_DELETE_BATCH",
	cmdMapUpdateBatch: "MAP_UPDATE_BATCH", cmdMapDeleteBatch: "MAP_DELETE_BATCH",
	cmdLinkCreate: "LINK_CREATE", cmdLinkByID: "LINK_GET_FD_BY_ID", cmdLinkNextID: "LINK_GET_NEXT_ID",
	cmdEnableStats: "ENABLE_STATS", cmdLinkDetach: "LINK_DETACH", cmdProgBindMap: "PROG_BIND_MAP",
	cmdProgStreamRead: "PROG_STREAM_READ_BY_FD",
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
