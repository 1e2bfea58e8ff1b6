package maps

import "github.com/skep-bpf/skep/internal/errno"

// opaque is embedded by types whose elements programs cannot look up, update or delete: helpers
// of their own, or nothing, lead there. The verifier refuses the calls before.
type opaque struct {
	noUpdate
	noDelete
}

// ProgLookup finds nothing.
func (opaque) ProgLookup(int, uint64) uint64 { return 0 }

// noUpdate is embedded by types whose elements programs do not update.
type noUpdate struct{}

// ProgUpdate is not for programs.
func (noUpdate) ProgUpdate(int, uint64, uint64, uint64) uint64 { return ret(errno.EOPNOTSUPP) }

// noDelete is embedded by types whose elements programs do not delete.
type noDelete struct{}

// ProgDelete is not for programs.
func (noDelete) ProgDelete(int, uint64) uint64 { return ret(errno.EOPNOTSUPP) }
