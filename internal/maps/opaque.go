package maps

import "github.com/skep-bpf/skep/internal/errno"

// opaque is embedded by types whose elements programs cannot look up, update or delete: helpers
// of their own, or nothing, lead there. The verifier refuses the calls before.
type opaque struct{}

// ProgLookup finds nothing.
func (opaque) ProgLookup(int, uint64) uint64 { return 0 }

// ProgUpdate is not for programs.
func (opaque) ProgUpdate(int, uint64, uint64, uint64) uint64 { return ret(errno.EOPNOTSUPP) }

// ProgDelete is not for programs.
func (opaque) ProgDelete(int, uint64) uint64 { return ret(errno.EOPNOTSUPP) }
