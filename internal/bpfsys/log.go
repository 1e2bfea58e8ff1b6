package bpfsys

import "github.com/skep-bpf/skep/internal/errno"

// userLog is the log buffer a caller gives (struct bpf_verifier_log).
type userLog struct {
	level uint32
	addr  uint64
	size  uint32 // bytes
}

// Bits of a log level beside the verifier's (BPF_LOG_*).
const (
	logFixed = 8 // keep the beginning, not the end
	logMask  = 15
)

// valid follows bpf_verifier_log_attr_valid.
func (l *userLog) valid() bool {
	return (l.addr != 0) == (l.size != 0) && (l.addr == 0 || l.level != 0) && l.level&^logMask == 0 && l.size <= (1<<32-1)>>2
}

// writeLog hands the log out and returns the size a buffer for all of it needs,
// the zero at the end included (bpf_vlog_finalize). What does not fit is cut
// off at the beginning, or with logFixed at the end; the error is then ENOSPC.
// most is the longest that the log ever was.
func (c *call) writeLog(l *userLog, text string, most int) (size uint32, e errno.Errno) {
	if l.level == 0 {
		return 0, 0
	}
	if most > 0 {
		size = uint32(most) + 1
	}
	if l.addr == 0 {
		return size, 0
	}
	if room := int(l.size) - 1; len(text) > room {
		if l.level&logFixed != 0 {
			text = text[:room]
		} else {
			text = text[len(text)-room:]
		}
	}
	if !c.who.user().Write(l.addr, append([]byte(text), 0)) {
		return size, errno.EFAULT
	}
	if size > l.size {
		return size, errno.ENOSPC
	}
	return size, 0
}
