package bpfsys

import (
	"unsafe"

	"github.com/skep-bpf/skep/internal/errno"
)

// Cmd is a command of bpf(2), with the numbers of enum bpf_cmd.
type Cmd uint32

// Commands.
const (
	MapCreate Cmd = iota
	MapLookupElem
	MapUpdateElem
	MapDeleteElem
	MapGetNextKey
	ProgLoad
	ObjPin
	ObjGet
	ProgAttach
	ProgDetach
	ProgTestRun
	ProgGetNextID
	MapGetNextID
	ProgGetFDByID
	MapGetFDByID
	ObjGetInfoByFD
	ProgQuery
	RawTracepointOpen
	BTFLoad
	BTFGetFDByID
	TaskFDQuery
	MapLookupAndDeleteElem
	MapFreeze
	BTFGetNextID
	MapLookupBatch
	MapLookupAndDeleteBatch
	MapUpdateBatch
	MapDeleteBatch
	LinkCreate
	LinkUpdate
	LinkGetFDByID
	LinkGetNextID
	EnableStats
	IterCreate
	LinkDetach
	ProgBindMap
	TokenCreate
	ProgStreamReadByFD
)

// Command is the row of one command.
type Command struct {
	Cmd  Cmd
	Name string // as the uapi has it, without "BPF_"
	// End is where the last field of union bpf_attr ends that the command knows, in
	// bytes: what comes after must be zero (CHECK_ATTR).
	End uintptr
	Doc string

	run func(*call) (int32, errno.Errno)
}

// commands holds the row of each command at its number.
var commands []Command

func init() { // the functions refer to the rows
	commands = []Command{
		{MapCreate, "MAP_CREATE", end(mapCreate{}.ExclProgHashSize, unsafe.Offsetof(mapCreate{}.ExclProgHashSize)), "Makes a map.", (*call).mapCreate},
		{MapLookupElem, "MAP_LOOKUP_ELEM", endElemFlags, "Copies the value of a key.", (*call).mapLookup},
		{MapUpdateElem, "MAP_UPDATE_ELEM", endElemFlags, "Sets the value of a key.", (*call).mapUpdate},
		{MapDeleteElem, "MAP_DELETE_ELEM", end(mapElem{}.Key, unsafe.Offsetof(mapElem{}.Key)), "Removes a key.", (*call).mapDelete},
		{MapGetNextKey, "MAP_GET_NEXT_KEY", end(mapElem{}.Value, unsafe.Offsetof(mapElem{}.Value)), "Returns the key after a key.", (*call).mapNextKey},
		{ProgLoad, "PROG_LOAD", end(progLoad{}.KeyringId, unsafe.Offsetof(progLoad{}.KeyringId)), "Verifies and loads a program.", (*call).progLoad},
		{ObjPin, "OBJ_PIN", endPin, "Gives an object a name in a BPF file system.", (*call).objPin},
		{ObjGet, "OBJ_GET", endPin, "Opens an object by its name.", (*call).objGet},
		{ProgAttach, "PROG_ATTACH", endAttach, "Attaches a program until it is detached.", (*call).progAttach},
		{ProgDetach, "PROG_DETACH", endAttach, "Detaches a program.", (*call).progDetach},
		{ProgTestRun, "PROG_TEST_RUN", end(testRun{}.BatchSize, unsafe.Offsetof(testRun{}.BatchSize)), "Runs a program on given data.", (*call).progTestRun},
		{ProgGetNextID, "PROG_GET_NEXT_ID", endNextID, "Returns the program id after an id.", (*call).progNextID},
		{MapGetNextID, "MAP_GET_NEXT_ID", endNextID, "Returns the map id after an id.", (*call).mapNextID},
		{ProgGetFDByID, "PROG_GET_FD_BY_ID", endID, "Opens a program by its id.", (*call).progByID},
		{MapGetFDByID, "MAP_GET_FD_BY_ID", end(getID{}.OpenFlags, unsafe.Offsetof(getID{}.OpenFlags)), "Opens a map by its id.", (*call).mapByID},
		{ObjGetInfoByFD, "OBJ_GET_INFO_BY_FD", end(objInfo{}.Info, unsafe.Offsetof(objInfo{}.Info)), "Tells of a program, map, BTF object or link.", (*call).objInfo},
		{ProgQuery, "PROG_QUERY", end(progQuery{}.Revision, unsafe.Offsetof(progQuery{}.Revision)), "Lists what is attached to a place.", (*call).progQuery},
		{RawTracepointOpen, "RAW_TRACEPOINT_OPEN", end(rawTracepointOpen{}.Cookie, unsafe.Offsetof(rawTracepointOpen{}.Cookie)), "Attaches a program to a tracepoint or to what it was loaded for.", (*call).rawTracepointOpen},
		{BTFLoad, "BTF_LOAD", end(btfLoad{}.BtfTokenFd, unsafe.Offsetof(btfLoad{}.BtfTokenFd)), "Loads types.", (*call).btfLoad},
		{BTFGetFDByID, "BTF_GET_FD_BY_ID", end(getID{}.FdByIdTokenFd, unsafe.Offsetof(getID{}.FdByIdTokenFd)), "Opens a BTF object by its id.", (*call).btfByID},
		{TaskFDQuery, "TASK_FD_QUERY", end(taskFDQuery{}.ProbeAddr, unsafe.Offsetof(taskFDQuery{}.ProbeAddr)), "Tells what a perf event descriptor of a process is attached to.", (*call).taskFDQuery},
		{MapLookupAndDeleteElem, "MAP_LOOKUP_AND_DELETE_ELEM", endElemFlags, "Copies the value of a key and removes it.", (*call).mapLookupAndDelete},
		{MapFreeze, "MAP_FREEZE", end(mapElem{}.MapFd, unsafe.Offsetof(mapElem{}.MapFd)), "Makes a map read-only for user space.", (*call).mapFreeze},
		{BTFGetNextID, "BTF_GET_NEXT_ID", endNextID, "Returns the BTF id after an id.", (*call).btfNextID},
		{MapLookupBatch, "MAP_LOOKUP_BATCH", endBatch, "Copies many elements.", (*call).mapBatch},
		{MapLookupAndDeleteBatch, "MAP_LOOKUP_AND_DELETE_BATCH", endBatch, "Copies many elements and removes them.", (*call).mapBatch},
		{MapUpdateBatch, "MAP_UPDATE_BATCH", endBatch, "Sets many elements.", (*call).mapBatch},
		{MapDeleteBatch, "MAP_DELETE_BATCH", endBatch, "Removes many keys.", (*call).mapBatch},
		{LinkCreate, "LINK_CREATE", end(linkCreate{}.Pid, unsafe.Offsetof(linkCreate{}.Pid)), "Attaches a program as long as the link lives.", (*call).linkCreate},
		{LinkUpdate, "LINK_UPDATE", end(linkUpdate{}.OldProgFd, unsafe.Offsetof(linkUpdate{}.OldProgFd)), "Replaces a link's program.", (*call).linkUpdate},
		{LinkGetFDByID, "LINK_GET_FD_BY_ID", endID, "Opens a link by its id.", (*call).linkByID},
		{LinkGetNextID, "LINK_GET_NEXT_ID", endNextID, "Returns the link id after an id.", (*call).linkNextID},
		{EnableStats, "ENABLE_STATS", end(enableStats{}.Type, unsafe.Offsetof(enableStats{}.Type)), "Measures run times as long as the descriptor is open.", (*call).enableStats},
		{IterCreate, "ITER_CREATE", end(iterCreate{}.Flags, unsafe.Offsetof(iterCreate{}.Flags)), "Makes a file that reads what an iterator writes.", (*call).iterCreate},
		{LinkDetach, "LINK_DETACH", end(linkDetach{}.LinkFd, unsafe.Offsetof(linkDetach{}.LinkFd)), "Detaches a link that lives on.", (*call).linkDetach},
		{ProgBindMap, "PROG_BIND_MAP", end(progBindMap{}.Flags, unsafe.Offsetof(progBindMap{}.Flags)), "Makes a program keep a map it does not use.", (*call).progBindMap},
		{TokenCreate, "TOKEN_CREATE", end(tokenCreate{}.BpffsFd, unsafe.Offsetof(tokenCreate{}.BpffsFd)), "Delegates rights by a mounted file system.", (*call).tokenCreate},
		{ProgStreamReadByFD, "PROG_STREAM_READ_BY_FD", end(streamRead{}.ProgFd, unsafe.Offsetof(streamRead{}.ProgFd)), "Reads what a program printed to its streams.", (*call).streamRead},
	}
}

// Ends of structs that several commands share.
var (
	endElemFlags = end(mapElem{}.Flags, unsafe.Offsetof(mapElem{}.Flags))
	endPin       = end(objPin{}.PathFd, unsafe.Offsetof(objPin{}.PathFd))
	endAttach    = end(progAttach{}.ExpectedRevision, unsafe.Offsetof(progAttach{}.ExpectedRevision))
	endNextID    = end(getID{}.NextId, unsafe.Offsetof(getID{}.NextId))
	endID        = end(getID{}.StartId, unsafe.Offsetof(getID{}.StartId))
	endBatch     = end(mapBatch{}.Flags, unsafe.Offsetof(mapBatch{}.Flags))
)

// end is the offset after a field.
func end[T any](field T, off uintptr) uintptr { return off + unsafe.Sizeof(field) }

// Commands returns the rows of all commands, by number.
func Commands() []Command { return commands }

// String returns the command's name.
func (c Cmd) String() string {
	if int64(c) < int64(len(commands)) {
		return commands[c].Name
	}
	return "unknown"
}
