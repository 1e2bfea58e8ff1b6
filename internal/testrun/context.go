package testrun

import (
	"encoding/binary"
	"fmt"

	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/packet"
)

// XDPMd is struct xdp_md, the context of XDP programs, as a test run takes
// and returns it. Data, DataEnd and DataMeta are offsets
// into the data handed in: bytes before Data are metadata. A device must be one of the machine's network, with the queue.
type XDPMd struct {
	Data, DataEnd, DataMeta                     uint32
	IngressIfindex, RxQueueIndex, EgressIfindex uint32
}

// SKBuff is struct __sk_buff, the context of tc programs and socket filters.
// A test run takes Mark, Priority, IngressIfindex, Ifindex, CB, Tstamp, WireLen, GSOSegs, GSOSize
// and HWTstamp; every other field must be zero going in.
type SKBuff struct {
	Len, PktType, Mark, QueueMapping           uint32
	Protocol, VLANPresent, VLANTCI, VLANProto  uint32
	Priority, IngressIfindex, Ifindex, TCIndex uint32
	CB                                         [5]uint32
	Hash, TCClassID, Data, DataEnd             uint32
	NAPIID, Family, RemoteIP4, LocalIP4        uint32
	RemoteIP6, LocalIP6                        [4]uint32
	RemotePort, LocalPort, DataMeta            uint32
	FlowKeys, Tstamp                           uint64
	WireLen, GSOSegs                           uint32
	SK                                         uint64
	GSOSize                                    uint32
	TstampType                                 uint8
	_                                          [3]byte
	HWTstamp                                   uint64
}

// Limits of net/bpf/test_run.c.
const (
	gsoMaxSegs = 65535
	gsoMaxSize = 65536
)

// fitContext turns a context of any size into that of the uapi: what it
// lacks is zero, what it has more must be zero (bpf_check_uarg_tail_zero).
func fitContext(ctx []byte, size int) ([]byte, error) {
	for _, c := range ctx[min(size, len(ctx)):] {
		if c != 0 {
			return nil, fmt.Errorf("context: %d bytes, the program's has %d: %w", len(ctx), size, errno.E2BIG)
		}
	}
	b := make([]byte, size)
	copy(b, ctx)
	return b, nil
}

func contextBytes(v any) []byte {
	b, err := binary.Append(nil, binary.NativeEndian, v)
	if err != nil {
		panic("BUG: context without a fixed layout: " + err.Error())
	}
	return b
}

// loadXDP sets up a packet for a test run of an XDP program (bpf_prog_test_run_xdp).
func loadXDP(p *packet.Packet, net packet.Net, data, ctx []byte, linear int) error {
	o := packet.XDPOptions{Linear: linear}
	if ctx != nil {
		var md XDPMd
		b, err := fitContext(ctx, binary.Size(md))
		if err != nil {
			return err
		}
		binary.Decode(b, binary.NativeEndian, &md)
		switch {
		case md.DataMeta != 0, md.EgressIfindex != 0,
			md.DataEnd > uint32(len(data)), md.Data > md.DataEnd,
			md.IngressIfindex == 0 && md.RxQueueIndex != 0:
			return fmt.Errorf("context: xdp_md does not fit %d bytes of data: %w", len(data), errno.EINVAL)
		}
		o.Meta, o.Linear = int(md.Data), int(md.DataEnd)
		o.RxIfindex, o.RxQueue = md.IngressIfindex, md.RxQueueIndex
	}
	if err := p.SetXDP(data, o); err != nil || o.RxIfindex == 0 {
		return err
	}
	return Receives(net, o.RxIfindex, o.RxQueue)
}

// Receives is nil if a network has a device that receives in a queue (xdp_convert_md_to_buff).
func Receives(net packet.Net, ifindex, queue uint32) error {
	dev := net.Device(ifindex)
	if dev == nil {
		return fmt.Errorf("context: the machine's network has no device %d: %w", ifindex, errno.ENODEV)
	}
	if n := max(dev.RxQueues, 1); queue >= n {
		return fmt.Errorf("context: rx_queue_index %d; device %d has %d receive queues: %w", queue, ifindex, n, errno.EINVAL)
	}
	return nil
}

// storeXDP is the xdp_md of a packet after a test run (xdp_convert_buff_to_md).
func storeXDP(p *packet.Packet, in []byte) []byte {
	var md XDPMd
	if in != nil {
		b, _ := fitContext(in, binary.Size(md))
		binary.Decode(b, binary.NativeEndian, &md)
	}
	md.Data = uint32(p.Data - p.DataMeta)
	md.DataEnd = uint32(p.DataEnd - p.DataMeta)
	return contextBytes(md)
}

// loadSKB sets up a packet for a test run of a program over an sk_buff
// (bpf_prog_test_run_skb, convert___skb_to_skb).
func loadSKB(p *packet.Packet, net packet.Net, data, ctx []byte, o packet.SKBOptions) error {
	o.OwnSock = true
	if ctx != nil {
		var skb SKBuff
		b, err := fitContext(ctx, binary.Size(skb))
		if err != nil {
			return err
		}
		binary.Decode(b, binary.NativeEndian, &skb)
		if skb.Ifindex > 1 {
			dev := net.Device(skb.Ifindex)
			if dev == nil {
				return fmt.Errorf("context: the machine's network has no device %d: %w", skb.Ifindex, errno.ENODEV)
			}
			o.Dev = *dev
		}
		if skb.GSOSegs > gsoMaxSegs || skb.WireLen > gsoMaxSize {
			return fmt.Errorf("context: gso_segs %d, wire_len %d: %w", skb.GSOSegs, skb.WireLen, errno.EINVAL)
		}
		o.Mark, o.Priority, o.IngressIfindex = skb.Mark, skb.Priority, skb.IngressIfindex
		o.CB, o.Tstamp, o.HWTstamp = skb.CB, skb.Tstamp, skb.HWTstamp
		o.WireLen, o.GSOSegs, o.GSOSize = skb.WireLen, skb.GSOSegs, skb.GSOSize
		if o.WireLen == 0 {
			o.WireLen = packet.OwnLen
		}
		rest := skb
		rest.Mark, rest.Priority, rest.IngressIfindex, rest.Ifindex = 0, 0, 0, 0
		rest.CB, rest.Tstamp, rest.HWTstamp = [5]uint32{}, 0, 0
		rest.WireLen, rest.GSOSegs, rest.GSOSize = 0, 0, 0
		if rest != (SKBuff{}) {
			return fmt.Errorf("context: __sk_buff has a field set that a run does not take: %w", errno.EINVAL)
		}
	}
	return p.SetSKB(data, o)
}

// storeSKB is the __sk_buff of a packet after a test run (convert_skb_to___skb).
func storeSKB(p *packet.Packet, in []byte) []byte {
	var skb SKBuff
	if in != nil {
		b, _ := fitContext(in, binary.Size(skb))
		binary.Decode(b, binary.NativeEndian, &skb)
	}
	skb.Mark, skb.Priority, skb.IngressIfindex, skb.Ifindex = p.Mark, p.Priority, p.IngressIfindex, p.Ifindex
	skb.CB, skb.Tstamp, skb.HWTstamp = p.CB, p.Tstamp, p.HWTstamp
	skb.WireLen, skb.GSOSegs = p.WireLen, p.GSOSegs
	return contextBytes(skb)
}
