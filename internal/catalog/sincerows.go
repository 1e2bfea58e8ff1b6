package catalog

// Facts that belong to no other row: what came later than the thing it is part of.

// helperGrants are program types that may call a helper later than both were there.
var helperGrants = [...]struct {
	helper HelperID
	progs  ProgSet
	attach AttachSet
	since  Since
}{
	{FnPerfEventOutput, inTC | inXDP, 0, Since{"4.8", "555c8a8623a3"}},
	{FnPerfEventOutput, inSocketFilter | inCGroupSKB, 0, Since{"5.4", "7c4b90d79d0f"}},
	{FnRedirect, inXDP, 0, Since{"4.14", ""}},
	{FnCsumDiff, inXDP, 0, Since{"4.16", ""}},
	{FnSkLookupTcp, inXDP, 0, Since{"5.0", ""}},
	{FnSkLookupUdp, inXDP, 0, Since{"5.0", ""}},
	{FnSkRelease, inXDP, 0, Since{"5.0", ""}},
	{FnSKBChangeHead, inTC, 0, Since{"5.8", "6f3f65d80dac"}},
	{FnSetsockopt, inCGroupSockAddr, 0, Since{"5.8", "beecf11bc218"}},
	{FnGetsockopt, inCGroupSockAddr, 0, Since{"5.8", "beecf11bc218"}},
	{FnSetsockopt, inCGroupSockopt, 0, Since{"5.15", "2c531639deb5"}},
	{FnGetsockopt, inCGroupSockopt, 0, Since{"5.15", "2c531639deb5"}},
	{FnSetsockopt, inLSM, 1 << AttachLSMCGroup, Since{"6.0", "9113d7e48e91"}},
	{FnGetsockopt, inLSM, 1 << AttachLSMCGroup, Since{"6.0", "9113d7e48e91"}},
	{FnSkStorageGet, inTracing, 0, Since{"5.11", "8e4597c627fb"}},
	{FnSkStorageDelete, inTracing, 0, Since{"5.11", "8e4597c627fb"}},
	{FnGetAttachCookie, inTracing | inLSM, 0, Since{"5.19", "2fcc82411e74"}},
	{FnGetCurrentCGroupID, inXDP | inTC | inLWT | inSocketFilter | inSkLookup, 0, Since{"6.4", "c501bf55c88b"}},
	{FnGetCurrentAncestorCGroupID, inXDP | inTC | inLWT | inSocketFilter | inSkLookup, 0, Since{"6.4", "c501bf55c88b"}},
	{FnGetCurrentPidTgid, inXDP | inTC | inLWT | inSocketFilter | inSkLookup, 0, Since{"6.10", "eb166e522c77"}},
	{FnGetNsCurrentPidTgid, inXDP | inTC | inLWT | inSocketFilter | inSkLookup, 0, Since{"6.10", "eb166e522c77"}},
	{FnGetNetnsCookie, inTC, 0, Since{"6.13", "eb62f49de7ec"}},
	{FnGetNetnsCookie, inSocketFilter, 0, Since{"6.15", "c221d3744ad3"}},
}

// kfuncGrants are program types that may call kernel functions later than the first did.
var kfuncGrants = [...]struct {
	progs ProgSet
	since Since
}{
	{inXDP | inTC, Since{"5.18", ""}},
	{inCGroupSockAddr, Since{"6.7", "53e380d21441"}},
	{inTracepoint | inPerfEvent, Since{"6.12", "bc638d8cb5be"}},
	{inCGroupSock | inCGroupDevice | inCGroupSockopt | inCGroupSysctl, Since{"6.12", "67666479edf1"}},
	{inSockOps, Since{"6.15", "59422464266f"}},
}

// mapFlagSince says since when map types take flags; of several rows that fit, the latest holds.
var mapFlagSince = [...]struct {
	flag  uint32
	maps  MapSet // 0: all that take it
	since Since
}{
	{FlagNoPrealloc, 0, Since{"4.6", "6c9059817432"}},
	{FlagNoCommonLRU, 0, Since{"4.10", "29ba732acbee"}},
	{FlagNUMANode, 0, Since{"4.14", "96eabe7a40aa"}},
	{FlagRdonly, 0, Since{"4.15", "6e71b04a8224"}},
	{FlagWronly, 0, Since{"4.15", "6e71b04a8224"}},
	{FlagStackBuildID, 0, Since{"4.17", "615755a77b24"}},
	{FlagZeroSeed, 0, Since{"5.0", "96b3b6c9091d"}},
	{FlagRdonlyProg, 0, Since{"5.2", "591fe9888d78"}},
	{FlagWronlyProg, 0, Since{"5.2", "591fe9888d78"}},
	{FlagClone, 0, Since{"5.4", "8f51dfc73bf1"}},
	{FlagMmapable, 0, Since{"5.5", "fc9702273e2e"}},
	{FlagPreserveElems, 0, Since{"5.10", "792caccc4526"}},
	{FlagInnerMap, 0, Since{"5.10", "4a8f87e60f6d"}},
	{FlagLink, 0, Since{"6.4", "68b04864ca42"}},
	{FlagPathFD, 0, Since{"6.5", "cb8edce28073"}},
	{FlagVtypeBTFObjFD, 0, Since{"6.9", "fcc2c1fb0651"}},
	{FlagTokenFD, 0, Since{"6.9", "a177fc2bf6fd"}},
	{FlagSegvOnFault, 0, Since{"6.9", "317460317a02"}},
	{FlagNoUserConv, 0, Since{"6.9", "317460317a02"}},
}

// loadFlagSince says since when PROG_LOAD takes flags.
var loadFlagSince = [...]struct {
	flag  uint32
	name  string
	since Since
}{
	{LoadStrictAlignment, "BPF_F_STRICT_ALIGNMENT", Since{"4.12", "e07b98d9bffe"}},
	{LoadAnyAlignment, "BPF_F_ANY_ALIGNMENT", Since{"5.0", "e9ee9efc0d17"}},
	{LoadTestRndHi32, "BPF_F_TEST_RND_HI32", Since{"5.3", "c240eff63a1c"}},
	{LoadTestStateFreq, "BPF_F_TEST_STATE_FREQ", Since{"5.4", "10d274e880eb"}},
	{LoadSleepable, "BPF_F_SLEEPABLE", Since{"5.10", "1e6c62a88215"}},
	{LoadXDPHasFrags, "BPF_F_XDP_HAS_FRAGS", Since{"5.18", "c2f2cdbeffda"}},
	{LoadXDPDevBoundOnly, "BPF_F_XDP_DEV_BOUND_ONLY", Since{"6.3", "2b3486bc2d23"}},
	{LoadTestRegInvars, "BPF_F_TEST_REG_INVARIANTS", Since{"6.8", "ff8867af01da"}},
}

var specialNames = [...]string{
	SpecialSpinLock: "bpf_spin_lock", SpecialResSpinLock: "bpf_res_spin_lock", SpecialTimer: "bpf_timer",
	SpecialWorkqueue: "bpf_wq", SpecialTaskWork: "bpf_task_work", SpecialKptrUnref: "untrusted kptr",
	SpecialKptrRef: "kptr", SpecialKptrPerCPU: "per-CPU kptr", SpecialUptr: "uptr",
	SpecialListHead: "bpf_list_head", SpecialListNode: "bpf_list_node", SpecialRBRoot: "bpf_rb_root",
	SpecialRBNode: "bpf_rb_node", SpecialRefcount: "bpf_refcount",
}

// String returns the name of the field's type: "bpf_spin_lock".
func (k SpecialKind) String() string {
	if int(k) < len(specialNames) {
		return specialNames[k]
	}
	return "unknown"
}

// The commits are those of the helper or kernel function that came with the field.
var specialSince = [...]Since{
	SpecialSpinLock:    {"5.1", "d83525ca62cf"},
	SpecialResSpinLock: {"6.15", ""},
	SpecialTimer:       {"5.15", "b00628b1c7d5"},
	SpecialWorkqueue:   {"6.10", ""},
	SpecialTaskWork:    {"6.18", ""},
	SpecialKptrUnref:   {"5.19", "61df10c7799e"},
	SpecialKptrRef:     {"5.19", "c0a5a21c25f3"},
	SpecialKptrPerCPU:  {"6.7", "36d8bdf75a93"},
	SpecialUptr:        {"6.13", ""},
	SpecialListHead:    {"6.2", ""},
	SpecialListNode:    {"6.2", ""},
	SpecialRBRoot:      {"6.3", ""},
	SpecialRBNode:      {"6.3", ""},
	SpecialRefcount:    {"6.4", "d54730b50bae"},
}

// insnSince says since when the verifier takes instructions, by how their names
// in the isa table begin; the first row that fits holds. All others are those
// the machine began with.
var insnSince = [...]struct {
	doc   string
	names []string
	since Since
}{
	{"signed division and modulo (cpu v4)", []string{"sdiv", "smod"}, Since{"6.6", "ec0e2da95f72"}},
	{"sign-extending moves (cpu v4)", []string{"movs"}, Since{"6.6", "8100928c8814"}},
	{"sign-extending loads (cpu v4)", []string{"ldx_s"}, Since{"6.6", "1f9a1ea821ff"}},
	{"unconditional byte swaps (cpu v4)", []string{"bswap"}, Since{"6.6", "0845c3db7bf5"}},
	{"gotol, a jump of 32 bits (cpu v4)", []string{"gotol"}, Since{"6.6", "4cd58e9af8b9"}},
	{"may_goto", []string{"may_goto"}, Since{"6.9", "011832b97b31"}},
	{"addr_space_cast", []string{"addr_space_cast"}, Since{"6.9", "6082b6c328b5"}},
	{"load_acquire and store_release", []string{"load_acquire", "store_release"}, Since{"6.15", "880442305a39"}},
	{"atomic add", []string{"atomic_add"}, Since{"3.18", "bd4cf0ed331a"}},
	{"atomic fetch, and, or, xor (cpu v3)", []string{"atomic_"}, Since{"5.12", "5ca419f2864a"}},
	{"atomic exchange, compare and exchange (cpu v3)", []string{"xchg", "cmpxchg"}, Since{"5.12", "5ffa25502b5a"}},
	{"32-bit conditional jumps (cpu v3)", []string{
		"jeq32", "jgt32", "jge32", "jset32", "jne32", "jsgt32", "jsge32", "jlt32", "jle32", "jslt32", "jsle32",
	}, Since{"5.1", "092ed0968bb6"}},
	{"jumps if less (cpu v2)", []string{"jlt", "jle", "jslt", "jsle"}, Since{"4.14", "92b31a9af73b"}},
	{"address of global data", []string{"ld_map_value"}, Since{"5.2", "d8eca5bbb2be"}},
	{"address of a kernel variable", []string{"ld_btf_id"}, Since{"5.10", "4976b718c355"}},
	{"address of a function (callbacks)", []string{"ld_func"}, Since{"5.13", "69c087ba6225"}},
	{"map by index into fd_array", []string{"ld_map_idx"}, Since{"5.14", "387544bfa291"}},
	{"calls of local functions", []string{"call_local"}, Since{"4.16", "cc8b0b92a169"}},
	{"calls of kernel functions", []string{"call_kfunc"}, Since{"5.13", "e6ac2450d6de"}},
}

// btfSince says since when the kernel takes kinds of BTF. Loaders (libbpf,
// cilium/ebpf) leave out of a program's types what the kernel does not know, so
// these keep no program from loading.
var btfSince = [...]struct {
	name  string
	since Since
}{
	{"BTF", Since{"4.18", "69b693f0aefa"}},
	{"func_info, FUNC and FUNC_PROTO", Since{"5.0", "838e96904ff3"}},
	{"line_info", Since{"5.0", "c454a46b5efd"}},
	{"VAR and DATASEC", Since{"5.2", ""}},
	{"FLOAT", Since{"5.13", "b1828f0b0482"}},
	{"DECL_TAG", Since{"5.16", "b5ea834dde6b"}},
	{"TYPE_TAG", Since{"5.17", "8c42d2fa4eea"}},
	{"ENUM64", Since{"6.0", "6089fb325cf7"}},
}

// Ability is something the verifier, or the machine as a whole, can do besides
// taking single instructions and calls.
type Ability struct {
	Name string
	Since
	// Limit of a number, before and since; 0: none.
	Before, Now int
	// Likely: programs may pass without it, or need more than is known here.
	Likely bool
	Doc    string
}

// Names of [Ability] rows, for [AbilityByName].
const (
	AbilityInsns        = "programs of more than 4096 instructions"
	AbilityComplexity   = "1000000 instructions processed"
	AbilityLoops        = "bounded loops"
	AbilityCalls        = "calls of local functions"
	AbilityGlobalFuncs  = "global functions verified by themselves"
	AbilityTailAndCalls = "tail calls in programs with local functions"
	AbilityCallbacks    = "callbacks"
	AbilityIterators    = "open-coded iterators"
	AbilityPacket       = "direct packet access"
	AbilityPacketWrite  = "direct packet writes"
	AbilityPacketCGroup = "direct packet access of cgroup_skb"
	AbilityPacketArg    = "packet pointers as arguments of helpers"
	AbilityMapValueArg  = "map values as keys and values of map helpers"
	AbilitySpilled      = "bounds of spilled numbers"
	AbilityALU32        = "bounds of 32-bit arithmetic"
	AbilityBTFPointers  = "loads through typed kernel pointers"
	AbilityScalarIDs    = "bounds of copied numbers"
	AbilityRegCompare   = "bounds from comparing two unknown numbers"
	AbilityDynptr       = "dynptrs"
	AbilitySleepable    = "sleepable programs"
	AbilitySleepUprobe  = "sleepable uprobes"
	AbilityArena        = "arena pointers"
)

// abilities lists them, the oldest first.
var abilities = [...]Ability{
	{Name: AbilityPacket, Since: Since{"4.7", "969bf05eb3ce"}, Doc: "Loads through data, checked against data_end."},
	{Name: AbilityPacketWrite, Since: Since{"4.9", "36bbef52c7eb"}, Doc: "Stores through data; XDP's came a release earlier."},
	{Name: AbilityPacketArg, Since: Since{"4.9", ""}, Doc: "Helpers read and write packets in place."},
	{Name: AbilityCalls, Since: Since{"4.16", "cc8b0b92a169"}, Doc: "Functions that are not inlined."},
	{Name: AbilityMapValueArg, Since: Since{"4.18", "d71962f3e627"}, Doc: "Before, keys and values had to be on the stack."},
	{Name: AbilityPacketCGroup, Since: Since{"5.0", "b39b5f411dcf"}, Doc: "data and data_end in cgroup_skb programs."},
	{Name: AbilityInsns, Since: Since{"5.2", "c04c0d2b968a"}, Before: 4096, Now: 1000000, Doc: "Privileged programs may have 1,000,000 instructions."},
	{Name: AbilityComplexity, Since: Since{"5.2", "c04c0d2b968a"}, Before: 131072, Now: 1000000, Doc: "Before, 131,072 instructions on all paths together."},
	{Name: AbilityLoops, Since: Since{"5.3", "2589726d12a1"}, Doc: "Before, every jump backwards was refused."},
	{Name: AbilitySpilled, Since: Since{"5.10", "5689d49b71ad"}, Likely: true, Doc: "Numbers spilled to the stack keep what is known of them."},
	{Name: AbilityBTFPointers, Since: Since{"5.5", "9e15db66136a"}, Doc: "Kernel structures read without a helper."},
	{Name: AbilityGlobalFuncs, Since: Since{"5.6", "51c39bb1d5d1"}, Doc: "Before, as often as they were called."},
	{Name: AbilityALU32, Since: Since{"5.7", "3f50f132d840"}, Likely: true, Doc: "32-bit arithmetic and comparisons keep bounds."},
	{Name: AbilityTailAndCalls, Since: Since{"5.10", "e411901c0b77"}, Doc: "On x86-64; on arm64 since 6.0 (d4609a5d8c70)."},
	{Name: AbilitySleepable, Since: Since{"5.10", "1e6c62a88215"}, Doc: "Programs that may sleep."},
	{Name: AbilityScalarIDs, Since: Since{"5.10", "75748837b7e5"}, Likely: true, Doc: "A check of one copy of a number holds for the others."},
	{Name: AbilityCallbacks, Since: Since{"5.13", "69c087ba6225"}, Doc: "Functions handed to helpers."},
	{Name: AbilityDynptr, Since: Since{"5.19", "97e03f521050"}, Doc: "Memory whose size is known at run time."},
	{Name: AbilitySleepUprobe, Since: Since{"6.0", "8c7dcb84e3b7"}, Doc: "Sleepable kprobe programs, for uprobes."},
	{Name: AbilityIterators, Since: Since{"6.4", "06accc8779c1"}, Doc: "Loops over what bpf_iter_*_next returns."},
	{Name: AbilityRegCompare, Since: Since{"6.8", "67420501e868"}, Likely: true, Doc: "Comparisons of two registers narrow both."},
	{Name: AbilityArena, Since: Since{"6.9", "317460317a02"}, Doc: "Memory shared with user space."},
}

// Abilities returns all rows, the oldest first.
func Abilities() []Ability { return abilities[:] }

// AbilityByName returns the row of that name, one of the Ability constants, or nil.
func AbilityByName(name string) *Ability {
	for i := range abilities {
		if abilities[i].Name == name {
			return &abilities[i]
		}
	}
	return nil
}
