package packet

import (
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/socket"
)

// SetStream makes p a socket buffer of a stream's bytes, as sk_skb programs get
// one: no headers in front, between the addresses of its socket. head is how many bytes may
// be put before it without moving it.
func (p *Packet) SetStream(data []byte, sk *socket.Socket) error {
	if err := p.reset(KindSKB, skbHeadroom, uint64(len(data)), xdpTailroom); err != nil {
		return err
	}
	fillFrom(p.Data, data)
	p.compute()
	p.Ifindex = 1
	p.Sock = sk.Addr()
	p.Protocol = uint32(Htons(EtherIPv4))
	if sk.Family == socket.AFInet6 {
		p.Protocol = uint32(Htons(EtherIPv6))
	}
	p.Family = sk.Family
	p.RemoteIP4, p.LocalIP4 = sk.DstIP4, sk.SrcIP4
	p.RemoteIP6, p.LocalIP6 = sk.DstIP6, sk.SrcIP6
	p.RemotePort, p.LocalPort = uint32(sk.DstPort)<<16, sk.SrcPort
	return nil
}

// maxAdjust is the most a stream's buffer is moved by at once, in bytes.
const maxAdjust = 0xfff

// AdjustStream puts diff zero bytes in front of a stream's bytes, or takes −diff
// away (bpf_skb_adjust_room of sk_skb programs).
func (p *Packet) AdjustStream(diff int32, mode uint32, flags uint64) errno.Errno {
	n := uint64(max(int64(diff), -int64(diff)))
	switch {
	case flags != 0 || mode != 0:
		return errno.EINVAL
	case n > maxAdjust:
		return errno.EFAULT
	case diff >= 0:
		if e := p.reserve(n, 0); e != 0 {
			return e
		}
		p.Data -= n
		fill(p.Data, n)
	case !p.MayPull(n):
		return errno.ENOMEM
	default:
		p.Data += n
	}
	p.compute()
	return 0
}
