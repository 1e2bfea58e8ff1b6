package verifier

import (
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/isa"
)

// kfuncIRQ checks the saved interrupt flags on the stack.
func (e *env) kfuncIRQ(n isa.Register, meta *kfuncMeta) *Error {
	return e.unsupported("interrupt flags")
}

// kfuncResLock checks a resilient spin lock.
func (e *env) kfuncResLock(n isa.Register, i int, meta *kfuncMeta) *Error {
	return e.unsupported("resilient spin locks")
}

// resLockResult parts the paths where a lock was, or was not, taken.
func (e *env) resLockResult(meta *kfuncMeta) *Error {
	return e.silent(errno.ENOTSUPP)
}
