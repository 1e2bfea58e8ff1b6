package socket

import "github.com/skep-bpf/skep/internal/errno"

// Choice is a socket being chosen by a program: of a reuseport group
// (struct sk_reuseport_kern) or for a packet that looks for one (bpf_sk_lookup_kern).
type Choice struct {
	Selected *Socket

	// Of sk_reuseport: the group, and the member the packet came to first.
	Group *Group
	Own   *Socket
	// Migrating is the connection that loses its listener, Own, and wants another; or nil.
	Migrating *Socket

	// Of sk_lookup: what the packet is.
	Family, Protocol uint32
	// NoReuseport: the group of the selected socket is not asked.
	NoReuseport bool
}

// Reuse is bpf_sk_select_reuseport with the socket found in a map; array says
// that this is a reuseport_sockarray, which holds no sockets outside of groups for long.
func (c *Choice) Reuse(s *Socket, array bool) errno.Errno {
	g := s.Group()
	switch {
	case g == nil && array:
		return errno.ENOENT
	case g == nil:
		return errno.EINVAL
	case g == c.Group:
		c.Selected = s
		return 0
	case c.Own.Protocol != s.Protocol:
		return errno.EPROTOTYPE
	case c.Own.Family != s.Family:
		return errno.EAFNOSUPPORT
	}
	return errno.EBADFD
}

// Flags of bpf_sk_assign in sk_lookup programs.
const (
	LookupReplace     = 1 << 0 // BPF_SK_LOOKUP_F_REPLACE
	LookupNoReuseport = 1 << 1 // BPF_SK_LOOKUP_F_NO_REUSEPORT
)

// Assign is bpf_sk_assign of sk_lookup programs; a nil s takes a choice back
// (bpf_sk_lookup_assign).
func (c *Choice) Assign(s *Socket, flags uint64) errno.Errno {
	switch {
	case flags&^(LookupReplace|LookupNoReuseport) != 0:
		return errno.EINVAL
	case s != nil && (!s.Full() || !s.RCUFree() || s.State == TCPEstablished):
		return errno.ESOCKTNOSUPPORT
	case s != nil && s.Protocol != c.Protocol:
		return errno.EPROTOTYPE
	case s != nil && s.Family != c.Family && (s.Family == AFInet || s.Flags&V6Only != 0):
		return errno.EAFNOSUPPORT
	case c.Selected != nil && flags&LookupReplace == 0:
		return errno.EEXIST
	}
	c.Selected, c.NoReuseport = s, flags&LookupNoReuseport != 0
	return 0
}
