package catalog

import "slices"

// Groups of flags, operations and helpers that map types share.
const (
	mapAccess = FlagRdonly | FlagWronly | FlagRdonlyProg | FlagWronlyProg

	opsElem  = OpLookup | OpUpdate | OpDelete | OpNextKey | OpFreeze
	opsHash  = opsElem | OpLookupDelete | OpBatchLookup | OpBatchLookupDelete | OpBatchUpdate | OpBatchDelete
	opsArray = OpLookup | OpUpdate | OpNextKey | OpBatchLookup | OpBatchUpdate | OpFreeze
	opsFD    = OpUpdate | OpDelete | OpNextKey | OpFreeze
	opsQueue = OpLookup | OpUpdate | OpLookupDelete | OpFreeze
)

var (
	anySize  = SizeRule{Min: 1}
	noSize   = SizeRule{}
	fourOnly = SizeRule{Min: 4, Max: 4}
	fourOr8  = SizeRule{Min: 4, Max: 8, Multiple: 4}
)

// mapRows holds the row of each map type at its number.
var mapRows = [...]MapKind{
	MapHash: {
		Type: MapHash, Name: "hash", Since: "3.19", Doc: "Hash table.",
		KeySize: anySize, ValueSize: anySize, MaxEntries: anySize,
		Flags: FlagNoPrealloc | FlagNUMANode | FlagZeroSeed | mapAccess,
		Ops:   opsHash, Traits: Shown | Inner | ForEach | SleepableProgs,
	},
	MapArray: {
		Type: MapArray, Name: "array", Since: "3.19", Doc: "Array of values, all there from the start.",
		KeySize: fourOnly, ValueSize: anySize, MaxEntries: anySize,
		Flags: FlagNUMANode | FlagMmapable | FlagInnerMap | mapAccess,
		Ops:   opsArray | OpMmap, Traits: Shown | Inner | DirectValue | ForEach | SleepableProgs,
		Types: IndexTypes,
	},
	MapProgArray: {
		Type: MapProgArray, Name: "prog_array", Since: "4.2", Doc: "Programs to tail-call.",
		KeySize: fourOnly, ValueSize: fourOnly, MaxEntries: anySize,
		Flags: FlagNUMANode | FlagRdonly | FlagWronly,
		Ops:   opsFD | OpLookup, Traits: Shown | Undescribed, Helpers: []HelperID{FnTailCall},
		Holds: HoldsProgs,
	},
	MapPerfEventArray: {
		Type: MapPerfEventArray, Name: "perf_event_array", Since: "4.3", Doc: "Perf events, one per CPU, to read or to write samples to.",
		KeySize: fourOnly, ValueSize: fourOnly, MaxEntries: anySize,
		Flags: FlagNUMANode | FlagRdonly | FlagWronly | FlagPreserveElems,
		Ops:   opsFD, Traits: Inner,
		Helpers: []HelperID{FnPerfEventRead, FnPerfEventOutput, FnSKBOutput, FnPerfEventReadValue, FnXDPOutput},
		Types:   NoTypes,
	},
	MapPerCPUHash: {
		Type: MapPerCPUHash, Name: "percpu_hash", Since: "4.6", Doc: "Hash table with a value per CPU.",
		KeySize: anySize, ValueSize: anySize, MaxEntries: anySize,
		Flags: FlagNoPrealloc | FlagZeroSeed | mapAccess,
		Ops:   opsHash, Traits: Shown | PerCPU | Inner | ForEach | SleepableProgs,
	},
	MapPerCPUArray: {
		Type: MapPerCPUArray, Name: "percpu_array", Since: "4.6", Doc: "Array with a value per CPU.",
		KeySize: fourOnly, ValueSize: anySize, MaxEntries: anySize,
		Flags: mapAccess,
		Ops:   opsArray, Traits: Shown | PerCPU | Inner | ForEach | SleepableProgs,
		Types: IndexTypes,
	},
	MapStackTrace: {
		Type: MapStackTrace, Name: "stack_trace", Since: "4.6", Doc: "Call stacks by the id bpf_get_stackid gave.",
		KeySize: fourOnly, ValueSize: SizeRule{Min: 8, Max: 127 * 8, Multiple: 8}, MaxEntries: anySize,
		Flags: FlagNUMANode | FlagRdonly | FlagWronly | FlagStackBuildID,
		Ops:   OpLookup | OpLookupDelete | OpDelete | OpNextKey | OpFreeze, Traits: Inner | CheckedLate, Helpers: []HelperID{FnGetStackid},
		Needs: NeedsBPF, Types: NoTypes,
	},
	MapCGroupArray: {
		Type: MapCGroupArray, Name: "cgroup_array", Since: "4.8", Doc: "Control groups to test membership of.",
		KeySize: fourOnly, ValueSize: fourOnly, MaxEntries: anySize,
		Flags: FlagNUMANode | FlagRdonly | FlagWronly,
		Ops:   opsFD, Traits: Inner, Helpers: []HelperID{FnSKBUnderCGroup, FnCurrentTaskUnderCGroup},
		Holds: HoldsCGroups, Types: NoTypes,
	},
	MapLRUHash: {
		Type: MapLRUHash, Name: "lru_hash", Since: "4.10", Doc: "Hash table that evicts what was not used for long.",
		KeySize: anySize, ValueSize: anySize, MaxEntries: anySize,
		Flags: FlagNoCommonLRU | FlagNUMANode | FlagZeroSeed | mapAccess,
		Ops:   opsHash, Traits: Shown | Inner | ForEach | SleepableProgs,
		Needs: NeedsBPF,
	},
	MapLRUPerCPUHash: {
		Type: MapLRUPerCPUHash, Name: "lru_percpu_hash", Since: "4.10", Doc: "Evicting hash table with a value per CPU.",
		KeySize: anySize, ValueSize: anySize, MaxEntries: anySize,
		Flags: FlagNoCommonLRU | FlagZeroSeed | mapAccess,
		Ops:   opsHash, Traits: Shown | PerCPU | Inner | ForEach | SleepableProgs,
		Needs: NeedsBPF,
	},
	MapLPMTrie: {
		Type: MapLPMTrie, Name: "lpm_trie", Since: "4.11", Doc: "Prefixes; a lookup finds the longest that matches.",
		KeySize: SizeRule{Min: 5, Max: 260}, ValueSize: anySize, MaxEntries: anySize,
		Flags: FlagNoPrealloc | FlagNUMANode | mapAccess, MustFlags: FlagNoPrealloc,
		Ops: opsElem | OpBatchLookup | OpBatchUpdate | OpBatchDelete, Traits: Inner | CheckedLate,
		Needs: NeedsBPF, Types: TrieTypes,
	},
	MapArrayOfMaps: {
		Type: MapArrayOfMaps, Name: "array_of_maps", Since: "4.12", Doc: "Array whose values are maps.",
		KeySize: fourOnly, ValueSize: fourOnly, MaxEntries: anySize,
		Flags: FlagNUMANode | FlagRdonly | FlagWronly,
		Ops:   opsFD | OpLookup | OpBatchLookup | OpBatchUpdate, Traits: SleepableProgs,
		Helpers: []HelperID{FnMapLookupElem},
		Holds:   HoldsMaps, Types: NoTypes,
	},
	MapHashOfMaps: {
		Type: MapHashOfMaps, Name: "hash_of_maps", Since: "4.12", Doc: "Hash table whose values are maps.",
		KeySize: anySize, ValueSize: fourOnly, MaxEntries: anySize,
		Flags: FlagNoPrealloc | FlagNUMANode | FlagZeroSeed | mapAccess,
		Ops:   opsFD | OpLookup | OpBatchLookup | OpBatchLookupDelete | OpBatchUpdate | OpBatchDelete, Traits: SleepableProgs,
		Helpers: []HelperID{FnMapLookupElem},
		Holds:   HoldsMaps, Types: NoTypes,
	},
	MapDevMap: {
		Type: MapDevMap, Name: "devmap", Since: "4.14", Doc: "Network devices to redirect to, by index.",
		KeySize: fourOnly, ValueSize: fourOr8, MaxEntries: anySize,
		Flags: FlagNUMANode | FlagRdonly | FlagWronly,
		Ops:   opsElem, Traits: Inner | CheckedLate, Helpers: []HelperID{FnRedirectMap, FnMapLookupElem},
		Needs: NeedsNet, Holds: HoldsProgBehind, Types: NoTypes,
	},
	MapSockMap: {
		Type: MapSockMap, Name: "sockmap", Since: "4.14", Doc: "Sockets to redirect streams and messages to, by index.",
		KeySize: fourOnly, ValueSize: fourOr8, MaxEntries: anySize,
		Flags: FlagNUMANode | FlagRdonly | FlagWronly,
		Ops:   opsElem, Traits: Inner | CheckedLate,
		Helpers: []HelperID{FnSkRedirectMap, FnSockMapUpdate, FnMsgRedirectMap, FnSkSelectReuseport, FnMapLookupElem},
		Needs:   NeedsNet, Holds: HoldsSockets, Types: NoTypes,
	},
	MapCPUMap: {
		Type: MapCPUMap, Name: "cpumap", Since: "4.15", Doc: "CPUs to hand packets to.",
		KeySize: fourOnly, ValueSize: fourOr8, MaxEntries: anySize,
		Flags: FlagNUMANode,
		Ops:   opsElem, Traits: Inner | CheckedLate, Helpers: []HelperID{FnRedirectMap},
		Needs: NeedsBPF, Holds: HoldsProgBehind, Types: NoTypes,
	},
	MapXSKMap: {
		Type: MapXSKMap, Name: "xskmap", Since: "4.18", Doc: "AF_XDP sockets to redirect to, by index.",
		KeySize: fourOnly, ValueSize: fourOnly, MaxEntries: anySize,
		Flags: FlagNUMANode | FlagRdonly | FlagWronly,
		Ops:   opsFD, Traits: Inner | CheckedLate, Helpers: []HelperID{FnRedirectMap, FnMapLookupElem},
		Needs: NeedsNet, Holds: HoldsXSKs, Types: NoTypes,
	},
	MapSockHash: {
		Type: MapSockHash, Name: "sockhash", Since: "4.18", Doc: "Sockets to redirect streams and messages to, by key.",
		KeySize: SizeRule{Min: 1, Max: 512}, ValueSize: fourOr8, MaxEntries: anySize,
		Flags: FlagNUMANode | FlagRdonly | FlagWronly,
		Ops:   opsElem, Traits: Inner | CheckedLate,
		Helpers: []HelperID{FnSkRedirectHash, FnSockHashUpdate, FnMsgRedirectHash, FnSkSelectReuseport, FnMapLookupElem},
		Needs:   NeedsNet, Holds: HoldsSockets, Types: NoTypes,
	},
	MapCGroupStorage: {
		Type: MapCGroupStorage, Name: "cgroup_storage", Since: "4.19", Doc: "A value per control group and attach type (deprecated).",
		KeySize: SizeRule{Min: 8, Max: 16, Multiple: 8}, ValueSize: anySize, MaxEntries: noSize,
		Flags: FlagNUMANode | mapAccess,
		Ops:   OpLookup | OpUpdate | OpNextKey | OpFreeze, Helpers: []HelperID{FnGetLocalStorage},
		Traits: Shown | CheckedLate, Types: CGroupTypes,
	},
	MapReuseportSockarray: {
		Type: MapReuseportSockarray, Name: "reuseport_sockarray", Since: "4.19", Doc: "Sockets of a reuseport group.",
		KeySize: fourOnly, ValueSize: fourOr8, MaxEntries: anySize,
		Flags: FlagNUMANode | mapAccess,
		Ops:   opsElem, Traits: Inner, Helpers: []HelperID{FnSkSelectReuseport},
		Needs: NeedsBPF, Holds: HoldsSockets,
	},
	MapPerCPUCGroupStorage: {
		Type: MapPerCPUCGroupStorage, Name: "percpu_cgroup_storage", Since: "4.20", Doc: "A value per control group, attach type and CPU (deprecated).",
		KeySize: SizeRule{Min: 8, Max: 16, Multiple: 8}, ValueSize: anySize, MaxEntries: noSize,
		Flags: FlagNUMANode | mapAccess,
		Ops:   OpLookup | OpUpdate | OpNextKey | OpFreeze, Traits: Shown | PerCPU | CheckedLate, Helpers: []HelperID{FnGetLocalStorage},
		Types: CGroupTypes,
	},
	MapQueue: {
		Type: MapQueue, Name: "queue", Since: "4.20", Doc: "First in, first out.",
		KeySize: noSize, ValueSize: anySize, MaxEntries: anySize,
		Flags: FlagNUMANode | mapAccess,
		Ops:   opsQueue, Traits: Inner | SleepableProgs | Undescribed, Helpers: []HelperID{FnMapPeekElem, FnMapPopElem, FnMapPushElem},
		Needs: NeedsBPF,
	},
	MapStack: {
		Type: MapStack, Name: "stack", Since: "4.20", Doc: "Last in, first out.",
		KeySize: noSize, ValueSize: anySize, MaxEntries: anySize,
		Flags: FlagNUMANode | mapAccess,
		Ops:   opsQueue, Traits: Inner | SleepableProgs | Undescribed, Helpers: []HelperID{FnMapPeekElem, FnMapPopElem, FnMapPushElem},
		Needs: NeedsBPF,
	},
	MapSkStorage: {
		Type: MapSkStorage, Name: "sk_storage", Since: "5.2", Doc: "A value per socket, kept with the socket.",
		KeySize: fourOnly, ValueSize: anySize, MaxEntries: noSize,
		Flags: FlagNoPrealloc | FlagClone, MustFlags: FlagNoPrealloc,
		Ops: OpLookup | OpUpdate | OpDelete | OpFreeze, Traits: Inner | SleepableProgs | NeedsBTF,
		Helpers: []HelperID{FnSkStorageGet, FnSkStorageDelete, FnKptrXchg},
		Needs:   NeedsBPF, Types: IndexTypes, Owners: OwnersSockets,
	},
	MapDevMapHash: {
		Type: MapDevMapHash, Name: "devmap_hash", Since: "5.4", Doc: "Network devices to redirect to, by any number.",
		KeySize: fourOnly, ValueSize: fourOr8, MaxEntries: anySize,
		Flags: FlagNUMANode | FlagRdonly | FlagWronly,
		Ops:   opsElem, Traits: Inner | CheckedLate, Helpers: []HelperID{FnRedirectMap, FnMapLookupElem},
		Needs: NeedsNet, Holds: HoldsProgBehind, Types: NoTypes,
	},
	MapStructOps: {
		Type: MapStructOps, Name: "struct_ops", Since: "5.6", Doc: "A kernel structure of function pointers that programs implement.",
		KeySize: fourOnly, ValueSize: anySize, MaxEntries: SizeRule{Min: 1, Max: 1},
		Flags: FlagLink | FlagVtypeBTFObjFD,
		Ops:   OpLookup | OpUpdate | OpDelete | OpNextKey, Traits: NeedsBTF,
		Needs: NeedsBPF,
	},
	MapRingBuf: {
		Type: MapRingBuf, Name: "ringbuf", Since: "5.8", Doc: "Ring buffer from programs to user space.",
		KeySize: noSize, ValueSize: noSize, MaxEntries: SizeRule{Min: 4096, Multiple: 4096, Pow2: true},
		Flags: FlagNUMANode,
		Ops:   OpMmap | OpFreeze, Traits: Inner | SleepableProgs | Undescribed | CheckedLate,
		Helpers: []HelperID{FnRingBufOutput, FnRingBufReserve, FnRingBufQuery, FnRingBufReserveDynptr, FnRingBufSubmitDynptr, FnRingBufDiscardDynptr},
	},
	MapInodeStorage: {
		Type: MapInodeStorage, Name: "inode_storage", Since: "5.10", Doc: "A value per inode, kept with the inode.",
		KeySize: fourOnly, ValueSize: anySize, MaxEntries: noSize,
		Flags: FlagNoPrealloc | FlagClone, MustFlags: FlagNoPrealloc,
		Ops: OpLookup | OpUpdate | OpDelete | OpFreeze, Traits: Inner | SleepableProgs | NeedsBTF,
		Helpers: []HelperID{FnInodeStorageGet, FnInodeStorageDelete, FnKptrXchg},
		Needs:   NeedsBPF, Types: IndexTypes, Owners: OwnersInodes,
	},
	MapTaskStorage: {
		Type: MapTaskStorage, Name: "task_storage", Since: "5.11", Doc: "A value per task, kept with the task.",
		KeySize: fourOnly, ValueSize: anySize, MaxEntries: noSize,
		Flags: FlagNoPrealloc | FlagClone, MustFlags: FlagNoPrealloc,
		Ops: OpLookup | OpUpdate | OpDelete | OpFreeze, Traits: Inner | SleepableProgs | NeedsBTF,
		Helpers: []HelperID{FnTaskStorageGet, FnTaskStorageDelete, FnKptrXchg},
		Needs:   NeedsBPF, Types: IndexTypes, Owners: OwnersTasks,
	},
	MapBloomFilter: {
		Type: MapBloomFilter, Name: "bloom_filter", Since: "5.16", Doc: "Says that a value was surely not added, or perhaps was.",
		KeySize: noSize, ValueSize: anySize, MaxEntries: anySize,
		Flags: FlagNUMANode | FlagZeroSeed | mapAccess,
		Ops:   OpLookup | OpUpdate | OpFreeze, Traits: Inner | Undescribed | TakesExtra, Helpers: []HelperID{FnMapPeekElem, FnMapPushElem},
		Needs: NeedsBPF, Types: NoKeyTypes,
	},
	MapUserRingBuf: {
		Type: MapUserRingBuf, Name: "user_ringbuf", Since: "6.1", Doc: "Ring buffer from user space to programs.",
		KeySize: noSize, ValueSize: noSize, MaxEntries: SizeRule{Min: 4096, Multiple: 4096, Pow2: true},
		Flags: FlagNUMANode,
		Ops:   OpMmap | OpFreeze, Traits: Inner | SleepableProgs | CheckedLate, Helpers: []HelperID{FnUserRingBufDrain},
	},
	MapCGrpStorage: {
		Type: MapCGrpStorage, Name: "cgrp_storage", Since: "6.2", Doc: "A value per control group, kept with the group.",
		KeySize: fourOnly, ValueSize: anySize, MaxEntries: noSize,
		Flags: FlagNoPrealloc | FlagClone, MustFlags: FlagNoPrealloc,
		Ops: OpLookup | OpUpdate | OpDelete | OpFreeze, Traits: Inner | SleepableProgs | NeedsBTF,
		Helpers: []HelperID{FnCGrpStorageGet, FnCGrpStorageDelete, FnKptrXchg},
		Needs:   NeedsBPF, Types: IndexTypes, Owners: OwnersCGroups,
	},
	MapArena: {
		Type: MapArena, Name: "arena", Since: "6.9", Doc: "Sparse memory shared between programs and user space.",
		KeySize: noSize, ValueSize: noSize, MaxEntries: anySize,
		Flags: FlagMmapable | FlagSegvOnFault | FlagNoUserConv, MustFlags: FlagMmapable,
		Ops: OpMmap | OpFreeze, Traits: Inner | DirectValue | SleepableProgs | CheckedLate | TakesExtra,
		Needs: NeedsBPF,
	},
}

// MapKinds returns the rows of all map types, by number.
func MapKinds() []MapKind { return mapRows[1:] }

// MapKindByType returns the row of a map type, or nil.
func MapKindByType(t MapType) *MapKind {
	if t == MapUnspec || int64(t) >= int64(len(mapRows)) {
		return nil
	}
	return &mapRows[t]
}

// MapKindByName returns the row of the map type bpftool prints as name, or nil.
func MapKindByName(name string) *MapKind {
	for i := range mapRows[1:] {
		if k := &mapRows[1+i]; k.Name == name {
			return k
		}
	}
	return nil
}

// sockmapUpdaters are the types that may update and delete a sockmap's or
// sockhash's elements by the ordinary helpers (may_update_sockmap). Iterators
// may too, and sock_ops may delete.
const sockmapUpdaters = inSocketFilter | inTC | inXDP | inSkReuseport | inFlowDissector | inSkLookup

// HelperTakesMap reports whether h may be called with a map of type t
// (check_map_func_compatibility): the map's row must allow the helper and the
// helper's row the map.
func (k *ProgKind) HelperTakesMap(h *Helper, t MapType, attach AttachType) bool {
	m := MapKindByType(t)
	switch {
	case m == nil, h.Maps != 0 && !h.Maps.Has(t):
		return false
	case m.Helpers == nil, slices.Contains(m.Helpers, h.ID):
		return true
	case t == MapSockMap || t == MapSockHash:
		switch h.ID {
		case FnMapUpdateElem:
			return sockmapUpdaters.Has(k.Type) || k.Type == ProgTracing && attach == AttachTraceIter
		case FnMapDeleteElem:
			return sockmapUpdaters.Has(k.Type) || k.Type == ProgTracing && attach == AttachTraceIter || k.Type == ProgSockOps
		}
	}
	return false
}

// String returns the type's name as bpftool prints it, or "unspec".
func (t MapType) String() string {
	if k := MapKindByType(t); k != nil {
		return k.Name
	}
	return "unspec"
}
