package catalog

// Helper is the row of one helper function (struct bpf_func_proto), or of one
// variant: where program types see different prototypes under one id, there
// are several rows with that id, next to each other, the most special first.
type Helper struct {
	ID      HelperID
	Name    string // as in the uapi, without the bpf_ prefix: "map_lookup_elem"
	Args    [5]Arg
	Ret     RetType
	RetBTF  string // struct name, for RetBTFID kinds
	RetSize uint32 // for RetMem with a size the row fixes
	Flags   HelperFlag

	Maps   MapSet    // map types its map argument may have; 0: any that allows the helper
	Progs  ProgSet   // program types that may call it
	Attach AttachSet // expected attach types it is limited to; 0: any
	Needs  Need      // what the loader must be capable of

	Since string // first Linux release: "3.19"
	Doc   string // one line
}

// HelperFlag says how a helper may be called and what it does to the run.
type HelperFlag uint32

// Helper flags.
const (
	GPLOnly         HelperFlag = 1 << iota // only GPL-compatible programs may call it
	PktAccess                              // reads its memory arguments from packets too
	MightSleep                             // only sleepable programs may call it
	ChangesPkt                             // invalidates packet pointers (bpf_helper_changes_pkt_data)
	FastCall                               // scratches no more than its arguments and result (bpf_fastcall)
	Acquires                               // R0 is a reference that must be released (is_acquire_function)
	SleepableSleeps                        // may sleep when a sleepable program calls it
	AttachAllowed                          // depends on the kernel function attached to (bpf_func_proto.allowed and kin)
)

// Need is the capability a loader must have before programs may call a helper
// (bpf_base_func_proto, bpf_sk_base_func_proto).
type Need uint8

// Capabilities, each including those before it.
const (
	NeedNothing  Need = iota
	NeedBPF           // CAP_BPF
	NeedPerfmon       // CAP_PERFMON
	NeedSysAdmin      // CAP_SYS_ADMIN
)

// helperFamilies lists the tables of all helper rows.
var helperFamilies = [...][]Helper{
	mapHelpers[:], baseHelpers[:], traceHelpers[:], skbHelpers[:], xdpHelpers[:], sockHelpers[:], cgroupHelpers[:],
}

// helperRows holds for each id its rows, as a part of its family's table.
var helperRows = indexHelpers()

func indexHelpers() (idx [LastHelper + 1][]Helper) {
	for _, family := range helperFamilies {
		for i := 0; i < len(family); {
			j := i + 1
			for j < len(family) && family[j].ID == family[i].ID {
				j++
			}
			idx[family[i].ID] = family[i:j]
			i = j
		}
	}
	return idx
}

// HelperVariants returns all rows of a helper, or nil when the number is of none.
func HelperVariants(id HelperID) []Helper {
	if id <= FnUnspec || id > LastHelper {
		return nil
	}
	return helperRows[id]
}

// HelperByID returns the first row of a helper, for its name, release and doc;
// [ProgKind.Helper] gives the row that holds for a program. It returns nil
// when the number is of no helper.
func HelperByID(id HelperID) *Helper {
	rows := HelperVariants(id)
	if rows == nil {
		return nil
	}
	return &rows[0]
}

// HelperByName returns the first row of the helper with that name, with or
// without the bpf_ prefix, or nil.
func HelperByName(name string) *Helper {
	if len(name) > 4 && name[:4] == "bpf_" {
		name = name[4:]
	}
	for id := FnUnspec + 1; id <= LastHelper; id++ {
		if h := &helperRows[id][0]; h.Name == name {
			return h
		}
	}
	return nil
}

// String returns the helper's name as the kernel prints it, "bpf_loop", or
// "unknown" when the number is of no helper.
func (id HelperID) String() string {
	if h := HelperByID(id); h != nil {
		return "bpf_" + h.Name
	}
	return "unknown"
}

// helperFor returns the row of id that a program of the given type and
// expected attach type sees, or nil.
func helperFor(id HelperID, prog ProgType, attach AttachType) *Helper {
	rows := HelperVariants(id)
	for i := range rows {
		if h := &rows[i]; h.Progs.Has(prog) && (h.Attach == 0 || h.Attach.Has(attach)) {
			return h
		}
	}
	return nil
}
