package helpers

import (
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/mem"
)

// Fields of struct bpf_ct_opts, and its sizes: with and without the zone of connections.
const (
	ctNetns    = 0
	ctError    = 4
	ctProto    = 8
	ctZone     = 10
	ctZoneDir  = 12
	ctReserved = 13

	bothDirs = 3 // which a zone is for, where nobody says (NF_CT_DEFAULT_ZONE_DIR)

	ctOpts, ctOptsShort = 16, 12
)

// ctLookup finds no connection: nothing here tracks any. What is asked wrongly is
// told as the kernel does (__bpf_nf_ct_lookup).
func ctLookup(e *Env, _, tuple, tupleLen, opts, size uint64) uint64 {
	if opts == 0 || uint32(size) < ctProto { // 6.18 stores the error even so, beyond what is the program's
		return 0
	}
	no := ctRefusal(tuple, uint32(tupleLen), opts, uint32(size))
	if dir := opts + ctZoneDir; no == errno.ENOENT && uint32(size) == ctOpts && mem.Load8(dir) == 0 {
		mem.Store8(dir, bothDirs)
	}
	mem.Store32(opts+ctError, uint32(no.Ret()))
	return 0
}

func ctRefusal(tuple uint64, tupleLen uint32, opts uint64, size uint32) errno.Errno {
	if tuple == 0 || size != ctOpts && size != ctOptsShort {
		return errno.EINVAL
	}
	netns, proto := int32(mem.Load32(opts+ctNetns)), mem.Load8(opts+ctProto)
	switch {
	case size == ctOpts && mem.Load8(opts+ctReserved)|mem.Load8(opts+ctReserved+1)|mem.Load8(opts+ctReserved+2) != 0,
		size == ctOptsShort && mem.Load16(opts+ctZone) != 0: // what was reserved before there were zones
		return errno.EINVAL
	case proto != 6 && proto != 17: // TCP, UDP
		return errno.EPROTO
	case netns < -1:
		return errno.EINVAL
	case tupleLen != 12 && tupleLen != 36: // of IPv4 and IPv6
		return errno.EAFNOSUPPORT
	case netns >= 0:
		return errno.ENONET
	}
	return errno.ENOENT
}
