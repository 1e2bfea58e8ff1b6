package catalog

import (
	"math"

	"github.com/skep-bpf/skep/internal/errno"
)

// Protocol families that netfilter programs attach to (NFPROTO_*).
const (
	NFProtoIPv4 = 2
	NFProtoIPv6 = 10
)

// Hooks of netfilter in both families (NF_INET_*).
const (
	NFPreRouting  = 0
	NFLocalIn     = 1
	NFForward     = 2
	NFLocalOut    = 3
	NFPostRouting = 4
	nfHooks       = 5
)

const (
	nfDefrag     = 1    // BPF_F_NETFILTER_IP_DEFRAG
	nfDefragPrio = -400 // NF_IP_PRI_CONNTRACK_DEFRAG
)

// CheckNetfilter says why a program cannot be attached to a hook of a family at a priority, 0 if it can
// (bpf_nf_check_pf_and_hooks).
func CheckNetfilter(pf, hook uint32, priority int32, flags uint32) errno.Errno {
	switch {
	case pf != NFProtoIPv4 && pf != NFProtoIPv6:
		return errno.EAFNOSUPPORT
	case hook >= nfHooks:
		return errno.EPROTO
	case flags&^nfDefrag != 0:
		return errno.EOPNOTSUPP
	case priority == math.MinInt32, priority == math.MaxInt32, flags != 0 && priority <= nfDefragPrio:
		return errno.ERANGE
	}
	return 0
}
