package maps

import (
	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
)

// SpecialFields finds the fields of a map value that programs reach only
// through helpers, see [catalog.FindSpecial].
func SpecialFields(t btf.Type) ([]catalog.SpecialField, error) {
	fields, e := catalog.FindSpecial(t, true)
	return fields, asError(e)
}

// mapFields returns the special fields of a map's values: no nodes, and where
// anything is wrong with one field, none at all. The kernel ignores the error too.
func mapFields(value btf.Type) []catalog.SpecialField {
	fields, _ := catalog.FindSpecial(value, false)
	return fields
}

// specialAllowed says whether the map's type may have the special fields its
// values have (map_check_btf).
func specialAllowed(def *catalog.MapDef) errno.Errno {
	if len(def.Special) == 0 {
		return 0
	}
	if def.Flags&(catalog.FlagRdonlyProg|catalog.FlagWronlyProg) != 0 {
		return errno.EACCES
	}
	kept := catalog.MapKindByType(def.Type).Owners != catalog.OwnersNone
	for _, f := range def.Special {
		ok := false
		switch f.Kind {
		case catalog.SpecialSpinLock, catalog.SpecialResSpinLock:
			ok = def.Type == catalog.MapHash || def.Type == catalog.MapArray ||
				(kept || def.Type == catalog.MapCGroupStorage) && f.Kind == catalog.SpecialSpinLock
		case catalog.SpecialTimer, catalog.SpecialWorkqueue, catalog.SpecialTaskWork,
			catalog.SpecialListHead, catalog.SpecialRBRoot:
			ok = def.Type == catalog.MapHash || def.Type == catalog.MapLRUHash || def.Type == catalog.MapArray
		case catalog.SpecialKptrUnref, catalog.SpecialKptrRef, catalog.SpecialKptrPerCPU, catalog.SpecialRefcount:
			switch def.Type {
			case catalog.MapHash, catalog.MapPerCPUHash, catalog.MapLRUHash, catalog.MapLRUPerCPUHash,
				catalog.MapArray, catalog.MapPerCPUArray:
				ok = true
			default:
				ok = kept
			}
		}
		if !ok {
			return errno.EOPNOTSUPP
		}
	}
	return 0
}
