package helpers

import (
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/maps"
	"github.com/skep-bpf/skep/internal/mem"
)

// mapFuncs are the helpers any program reaches its maps by (kernel/bpf/helpers.c, bpf_iter.c).
var mapFuncs = map[catalog.HelperID]Func{
	catalog.FnMapLookupElem:       mapLookupElem,
	catalog.FnMapUpdateElem:       mapUpdateElem,
	catalog.FnMapDeleteElem:       mapDeleteElem,
	catalog.FnMapPushElem:         mapPushElem,
	catalog.FnMapPopElem:          mapPopElem,
	catalog.FnMapPeekElem:         mapPeekElem,
	catalog.FnMapLookupPerCPUElem: mapLookupPerCPUElem,
	catalog.FnForEachMapElem:      forEachMapElem,
}

func mapLookupElem(e *Env, m, key, _, _, _ uint64) uint64 {
	return e.Host.Map(m).ProgLookup(e.CPU, key)
}

func mapUpdateElem(e *Env, m, key, value, flags, _ uint64) uint64 {
	return e.Host.Map(m).ProgUpdate(e.CPU, key, value, flags)
}

func mapDeleteElem(e *Env, m, key, _, _, _ uint64) uint64 {
	return e.Host.Map(m).ProgDelete(e.CPU, key)
}

// stackMap returns the map at m as one without keys; the verifier lets no other here.
func stackMap(e *Env, m uint64) maps.StackMap {
	s, ok := e.Host.Map(m).(maps.StackMap)
	if !ok {
		panic("BUG: push, pop or peek on a map with keys")
	}
	return s
}

func mapPushElem(e *Env, m, value, flags, _, _ uint64) uint64 {
	return stackMap(e, m).ProgPush(value, flags)
}

func mapPopElem(e *Env, m, value, _, _, _ uint64) uint64 { return stackMap(e, m).ProgPop(value) }

func mapPeekElem(e *Env, m, value, _, _, _ uint64) uint64 { return stackMap(e, m).ProgPeek(value) }

func mapLookupPerCPUElem(e *Env, m, key, cpu, _, _ uint64) uint64 {
	pm, ok := e.Host.Map(m).(maps.PerCPUMap)
	if !ok || uint32(cpu) >= uint32(e.Host.CPUs()) {
		return 0
	}
	return pm.ProgLookupPerCPU(key, uint32(cpu))
}

// forEachMapElem calls a callback with (map, key, value, ctx) for every
// element, until it returns 1; the result is how many it saw.
func forEachMapElem(e *Env, m, callback, ctx, flags, _ uint64) uint64 {
	if flags != 0 {
		return errno.EINVAL.Ret()
	}
	im, ok := e.Host.Map(m).(maps.IterMap)
	if !ok {
		panic("BUG: for_each_map_elem on a map that has no elements to walk")
	}
	n := uint64(0)
	key := e.enterWalk()
	defer e.leaveWalk()
	for it, ok := im.ProgNext(e.CPU, maps.Iter{KeyBuf: key}); ok; it, ok = im.ProgNext(e.CPU, it) {
		n++
		if e.Call(callback, m, it.Key, it.Value, ctx, 0) != 0 {
			break
		}
	}
	return n
}

// maxWalks is how deep walks can nest: one per call frame.
const maxWalks = 8

// walkSize is what a walk needs: an array's key or a dynptr.
const walkSize = 16

// enterWalk returns walkSize off-heap bytes that callbacks get to see.
func (e *Env) enterWalk() uint64 {
	if e.walkKeys == nil {
		b, err := mem.Alloc(walkSize * maxWalks)
		if err != nil {
			panic("BUG: no memory for a few bytes: " + err.Error())
		}
		e.walkKeys = b
	}
	key := e.walkKeys.Addr() + uint64(walkSize*(e.walks%maxWalks))
	e.walks++
	return key
}

func (e *Env) leaveWalk() { e.walks-- }

// Close frees what the Env's runs have allocated.
func (e *Env) Close() {
	e.Enter(maps.GroupPlace{})
	if e.walkKeys != nil {
		e.walkKeys.Free()
		e.walkKeys = nil
	}
	for _, b := range e.blocks {
		b.Free()
	}
	e.blocks = nil
}
