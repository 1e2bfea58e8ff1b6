package verifier

import (
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/isa"
)

// checkUnprivPtr keeps pointers that the unprivileged compute inside their
// object even while they are only computed (sanitize_check_bounds).
func (e *env) checkUnprivPtr(n isa.Register, r *reg) *Error {
	switch r.typ {
	case ptrToStack:
		if !r.isConst() {
			return e.refuse(errno.EACCES, "R%d variable stack access prohibited for !root, var_off=%s off=%d", n, r.bits, r.off)
		}
		if off := int64(r.off) + int64(r.bits.value); off >= 0 || off < -isa.StackSize {
			return e.refuse(errno.EACCES, "R%d stack pointer arithmetic goes out of range, prohibited for !root; off=%d", n, off)
		}
	case ptrToMapValue:
		if err := e.checkMapValue(n, int(r.off), 1, false, true); err != nil {
			return e.also(err, "R%d pointer arithmetic of map value goes out of range, prohibited for !root", n)
		}
	}
	return nil
}
