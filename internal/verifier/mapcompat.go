package verifier

import (
	"slices"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
)

// mapHelpers lists, for map types that only certain helpers take, those helpers.
var mapHelpers = map[catalog.MapType][]catalog.HelperID{
	catalog.MapProgArray:           {catalog.FnTailCall},
	catalog.MapPerfEventArray:      perfHelpers,
	catalog.MapRingBuf:             ringBufHelpers,
	catalog.MapUserRingBuf:         {catalog.FnUserRingBufDrain},
	catalog.MapStackTrace:          {catalog.FnGetStackid},
	catalog.MapCGroupArray:         {catalog.FnSKBUnderCGroup, catalog.FnCurrentTaskUnderCGroup},
	catalog.MapCGroupStorage:       {catalog.FnGetLocalStorage},
	catalog.MapPerCPUCGroupStorage: {catalog.FnGetLocalStorage},
	catalog.MapDevMap:              {catalog.FnRedirectMap, catalog.FnMapLookupElem},
	catalog.MapDevMapHash:          {catalog.FnRedirectMap, catalog.FnMapLookupElem},
	catalog.MapCPUMap:              {catalog.FnRedirectMap},
	catalog.MapXSKMap:              {catalog.FnRedirectMap, catalog.FnMapLookupElem},
	catalog.MapArrayOfMaps:         {catalog.FnMapLookupElem},
	catalog.MapHashOfMaps:          {catalog.FnMapLookupElem},
	catalog.MapSockMap: {catalog.FnSkRedirectMap, catalog.FnSockMapUpdate, catalog.FnMsgRedirectMap,
		catalog.FnSkSelectReuseport, catalog.FnMapLookupElem},
	catalog.MapSockHash: {catalog.FnSkRedirectHash, catalog.FnSockHashUpdate, catalog.FnMsgRedirectHash,
		catalog.FnSkSelectReuseport, catalog.FnMapLookupElem},
	catalog.MapReuseportSockarray: {catalog.FnSkSelectReuseport},
	catalog.MapQueue:              {catalog.FnMapPeekElem, catalog.FnMapPopElem, catalog.FnMapPushElem},
	catalog.MapStack:              {catalog.FnMapPeekElem, catalog.FnMapPopElem, catalog.FnMapPushElem},
	catalog.MapSkStorage:          {catalog.FnSkStorageGet, catalog.FnSkStorageDelete, catalog.FnKptrXchg},
	catalog.MapInodeStorage:       {catalog.FnInodeStorageGet, catalog.FnInodeStorageDelete, catalog.FnKptrXchg},
	catalog.MapTaskStorage:        {catalog.FnTaskStorageGet, catalog.FnTaskStorageDelete, catalog.FnKptrXchg},
	catalog.MapCGrpStorage:        {catalog.FnCGrpStorageGet, catalog.FnCGrpStorageDelete, catalog.FnKptrXchg},
	catalog.MapBloomFilter:        {catalog.FnMapPeekElem, catalog.FnMapPushElem},
}

var perfHelpers = []catalog.HelperID{catalog.FnPerfEventRead, catalog.FnPerfEventOutput, catalog.FnSKBOutput,
	catalog.FnPerfEventReadValue, catalog.FnXDPOutput}

var ringBufHelpers = []catalog.HelperID{catalog.FnRingBufOutput, catalog.FnRingBufReserve, catalog.FnRingBufQuery,
	catalog.FnRingBufReserveDynptr, catalog.FnRingBufSubmitDynptr, catalog.FnRingBufDiscardDynptr}

// helperMaps lists, for helpers that only take certain map types, those types.
var helperMaps = map[catalog.HelperID][]catalog.MapType{
	catalog.FnTailCall:               {catalog.MapProgArray},
	catalog.FnPerfEventRead:          {catalog.MapPerfEventArray},
	catalog.FnPerfEventOutput:        {catalog.MapPerfEventArray},
	catalog.FnPerfEventReadValue:     {catalog.MapPerfEventArray},
	catalog.FnSKBOutput:              {catalog.MapPerfEventArray},
	catalog.FnXDPOutput:              {catalog.MapPerfEventArray},
	catalog.FnRingBufOutput:          {catalog.MapRingBuf},
	catalog.FnRingBufReserve:         {catalog.MapRingBuf},
	catalog.FnRingBufQuery:           {catalog.MapRingBuf},
	catalog.FnRingBufReserveDynptr:   {catalog.MapRingBuf},
	catalog.FnUserRingBufDrain:       {catalog.MapUserRingBuf},
	catalog.FnGetStackid:             {catalog.MapStackTrace},
	catalog.FnCurrentTaskUnderCGroup: {catalog.MapCGroupArray},
	catalog.FnSKBUnderCGroup:         {catalog.MapCGroupArray},
	catalog.FnRedirectMap:            {catalog.MapDevMap, catalog.MapDevMapHash, catalog.MapCPUMap, catalog.MapXSKMap},
	catalog.FnSkRedirectMap:          {catalog.MapSockMap},
	catalog.FnMsgRedirectMap:         {catalog.MapSockMap},
	catalog.FnSockMapUpdate:          {catalog.MapSockMap},
	catalog.FnSkRedirectHash:         {catalog.MapSockHash},
	catalog.FnMsgRedirectHash:        {catalog.MapSockHash},
	catalog.FnSockHashUpdate:         {catalog.MapSockHash},
	catalog.FnGetLocalStorage:        {catalog.MapCGroupStorage, catalog.MapPerCPUCGroupStorage},
	catalog.FnSkSelectReuseport:      {catalog.MapReuseportSockarray, catalog.MapSockMap, catalog.MapSockHash},
	catalog.FnMapPopElem:             {catalog.MapQueue, catalog.MapStack},
	catalog.FnMapPeekElem:            {catalog.MapQueue, catalog.MapStack, catalog.MapBloomFilter},
	catalog.FnMapPushElem:            {catalog.MapQueue, catalog.MapStack, catalog.MapBloomFilter},
	catalog.FnMapLookupPerCPUElem:    {catalog.MapPerCPUArray, catalog.MapPerCPUHash, catalog.MapLRUPerCPUHash},
	catalog.FnSkStorageGet:           {catalog.MapSkStorage},
	catalog.FnSkStorageDelete:        {catalog.MapSkStorage},
	catalog.FnInodeStorageGet:        {catalog.MapInodeStorage},
	catalog.FnInodeStorageDelete:     {catalog.MapInodeStorage},
	catalog.FnTaskStorageGet:         {catalog.MapTaskStorage},
	catalog.FnTaskStorageDelete:      {catalog.MapTaskStorage},
	catalog.FnCGrpStorageGet:         {catalog.MapCGrpStorage},
	catalog.FnCGrpStorageDelete:      {catalog.MapCGrpStorage},
}

// checkMapHelper refuses helpers on maps they are not for (check_map_func_compatibility).
func (e *env) checkMapHelper(m *catalog.MapDef, id catalog.HelperID) *Error {
	if m == nil {
		return nil
	}
	helpers := mapHelpers[m.Type]
	ok := helpers == nil || slices.Contains(helpers, id)
	if !ok && isSockMap(m) {
		var may bool
		if may = e.mayUpdateSockMap(id); !may {
			return e.wrongMap(m, id)
		}
		ok = may
	}
	types := helperMaps[id]
	if !ok || types != nil && !slices.Contains(types, m.Type) {
		return e.wrongMap(m, id)
	}
	return nil
}

func (e *env) wrongMap(m *catalog.MapDef, id catalog.HelperID) *Error {
	return e.refuse(errno.EINVAL, "cannot pass map_type %d into func %s#%d", m.Type, id, id)
}

// mayUpdateSockMap reports whether programs of this type may change sockmaps
// like ordinary maps (may_update_sockmap).
func (e *env) mayUpdateSockMap(id catalog.HelperID) bool {
	if id != catalog.FnMapUpdateElem && id != catalog.FnMapDeleteElem {
		return false
	}
	switch e.p.Type {
	case catalog.ProgTracing:
		if e.p.Attach == catalog.AttachTraceIter {
			return true
		}
	case catalog.ProgSockOps:
		if id == catalog.FnMapDeleteElem {
			return true
		}
	case catalog.ProgSocketFilter, catalog.ProgSchedCls, catalog.ProgSchedAct, catalog.ProgXDP,
		catalog.ProgSkReuseport, catalog.ProgFlowDissector, catalog.ProgSkLookup:
		return true
	}
	e.logf("cannot update sockmap in this context\n")
	return false
}

// checkMapUse refuses maps that programs of this type cannot have (check_map_prog_compatibility).
func (e *env) checkMapUse(m *catalog.MapDef) *Error {
	tracing := e.facts.kind.Flags&catalog.Tracing != 0
	has := func(k catalog.SpecialKind) bool { return findSpecial(m.Special, k) != nil }
	if tracing && (has(catalog.SpecialListHead) || has(catalog.SpecialRBRoot)) {
		return e.refuse(errno.EINVAL, "tracing progs cannot use bpf_{list_head,rb_root} yet")
	}
	if has(catalog.SpecialSpinLock) || has(catalog.SpecialResSpinLock) {
		if e.p.Type == catalog.ProgSocketFilter {
			return e.refuse(errno.EINVAL, "socket filter progs cannot use bpf_spin_lock yet")
		}
		if tracing {
			return e.refuse(errno.EINVAL, "tracing progs cannot use bpf_spin_lock yet")
		}
	}
	if tracing && has(catalog.SpecialTimer) {
		return e.refuse(errno.EINVAL, "tracing progs cannot use bpf_timer yet")
	}
	if tracing && has(catalog.SpecialWorkqueue) {
		return e.refuse(errno.EINVAL, "tracing progs cannot use bpf_wq yet")
	}
	if m.Type == catalog.MapStructOps {
		return e.refuse(errno.EINVAL, "bpf_struct_ops map cannot be used in prog")
	}
	if e.p.Flags&flagSleepable == 0 {
		return nil
	}
	switch m.Type {
	case catalog.MapHash, catalog.MapLRUHash, catalog.MapArray, catalog.MapPerCPUHash, catalog.MapPerCPUArray,
		catalog.MapLRUPerCPUHash, catalog.MapArrayOfMaps, catalog.MapHashOfMaps, catalog.MapRingBuf,
		catalog.MapUserRingBuf, catalog.MapInodeStorage, catalog.MapSkStorage, catalog.MapTaskStorage,
		catalog.MapCGrpStorage, catalog.MapQueue, catalog.MapStack, catalog.MapArena:
		return nil
	}
	return e.refuse(errno.EINVAL, "Sleepable programs can only use array, hash, ringbuf and local storage maps")
}
