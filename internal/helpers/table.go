package helpers

import (
	"fmt"

	"github.com/skep-bpf/skep/internal/catalog"
)

// Table holds every helper by id; nil where the kernel has one that skep has
// not, see [Unimplemented].
var Table = bind(
	mapFuncs, timeFuncs, cpuFuncs, controlFuncs, printFuncs, seqFuncs, stringFuncs, probeFuncs, taskFuncs,
	ringbufFuncs, perfFuncs, dynptrFuncs, csumFuncs,
	xdpFuncs, skbFuncs, redirectFuncs, tunnelFuncs, routeFuncs, sockFuncs, syncookieFuncs, chooseFuncs, msgFuncs, storageFuncs,
	sysctlFuncs, sockOpsFuncs, sockoptFuncs, tracedFuncs, syscallFuncs,
)

// bind joins the families into one table.
func bind(families ...map[catalog.HelperID]Func) (table [catalog.LastHelper + 1]Func) {
	for _, family := range families {
		for id, f := range family {
			if table[id] != nil {
				panic(fmt.Sprintf("BUG: helper %d is bound twice", id))
			}
			table[id] = f
		}
	}
	return table
}

// Lookup returns the helper with an id, or nil.
func Lookup(id catalog.HelperID) Func {
	if id < 0 || int(id) >= len(Table) {
		return nil
	}
	return Table[id]
}
