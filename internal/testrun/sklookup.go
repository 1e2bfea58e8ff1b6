package testrun

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"

	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/run"
	"github.com/skep-bpf/skep/internal/socket"
	"github.com/skep-bpf/skep/internal/sockrun"
)

// SkLookup is struct bpf_sk_lookup, the context of sk_lookup programs, as a test
// run takes and returns it. Addresses and RemotePort are in network order.
type SkLookup struct {
	Cookie                    uint64 // out: of the socket chosen, 0 for none
	Family, Protocol          uint32
	RemoteIP4                 uint32
	RemoteIP6                 [4]uint32
	RemotePort                uint16
	_                         uint16
	LocalIP4                  uint32
	LocalIP6                  [4]uint32
	LocalPort, IngressIfindex uint32
	_                         uint32
}

// runSkLookup follows bpf_prog_test_run_sk_lookup.
func runSkLookup(c *run.CPU, p *run.Program, in *Input) (out Output, err error) {
	if in.Flags != 0 || in.CPU != 0 || in.Data != nil || in.DataOut != nil {
		return out, fmt.Errorf("an sk_lookup program takes a Context alone: %w", errno.EINVAL)
	}
	if in.Ctx == nil && !in.CtxOut {
		return out, fmt.Errorf("an sk_lookup program needs a Context: %w", errno.EINVAL)
	}
	b, err := fitContext(in.Ctx, sockrun.LookupSize)
	if err != nil {
		return out, err
	}
	var ctx SkLookup
	binary.Decode(b, binary.NativeEndian, &ctx)
	switch {
	case ctx.Cookie != 0 || ctx.IngressIfindex != 0 || b[68]|b[69]|b[70]|b[71] != 0:
		return out, fmt.Errorf("context: bpf_sk_lookup has a field set that a run does not take: %w", errno.EINVAL)
	case ctx.LocalPort > 0xffff:
		return out, fmt.Errorf("context: local_port %d: %w", ctx.LocalPort, errno.ERANGE)
	}
	q := sockrun.Lookup{Protocol: uint16(ctx.Protocol)} // the kernel keeps 16 bits of it, and of the family
	remotePort := ctx.RemotePort>>8 | ctx.RemotePort<<8
	switch uint16(ctx.Family) {
	case socket.AFInet:
		q.Remote = netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[16:])), remotePort)
		q.Local = netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[40:])), uint16(ctx.LocalPort))
	case socket.AFInet6:
		q.Remote = netip.AddrPortFrom(netip.AddrFrom16([16]byte(b[20:])), remotePort)
		q.Local = netip.AddrPortFrom(netip.AddrFrom16([16]byte(b[44:])), uint16(ctx.LocalPort))
	default:
		return out, fmt.Errorf("context: family %d: %w", ctx.Family, errno.EAFNOSUPPORT)
	}
	n := max(in.Repeat, 1)
	start := time.Now()
	var f sockrun.Found
	for range n {
		if f, err = q.Ask(c, []*run.Program{p}); err != nil {
			return out, err
		}
	}
	out.Duration = time.Since(start) / time.Duration(n)
	if f.Pass {
		out.Ret = sockrun.SkPass
	}
	if s := f.Socket; s != nil {
		if s.Flags&socket.Reuseport != 0 && !f.NoReuseport {
			return Output{}, fmt.Errorf("the socket chosen shares its address with others: %w", errno.EOPNOTSUPP)
		}
		binary.NativeEndian.PutUint64(b, s.Cookie)
	}
	if in.CtxOut {
		out.Ctx = b
	}
	return out, nil
}
