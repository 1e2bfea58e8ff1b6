package run

import (
	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep/internal/kstruct"
	"github.com/skep-bpf/skep/internal/mem"
	"github.com/skep-bpf/skep/internal/packet"
)

// kernelView is what programs attached to functions, to events and to netfilter see of a packet: the kernel's
// structures, as its types lay them out. A member that is not listed below is zero.
//
//	xdp_buff ─┬─ rxq ─▶ xdp_rxq_info ─ dev ─▶ net_device
//	          └─ txq ─▶ xdp_txq_info ─ dev ─▶ net_device
//	sk_buff ──── dev ─▶ net_device
//	nf_hook_state ─┬─ in ─▶ net_device
//	               └─ out ─▶ net_device
type kernelView struct {
	types    *btf.Spec
	blocks   []*mem.Block
	xdp, skb viewed
	rxq, txq kstruct.Struct
	queue    []byte // of rxq
	txDev    []byte // of xdp: where txq is named
	skbDev   []byte // of skb: where rx is named
	bits     []kstruct.Bits
	rx, tx   viewedDevice
	state    kstruct.Struct // of netfilter; made when it is first needed
}

// viewed is a structure with the members that are set for each packet.
type viewed struct {
	addr   uint64
	fields [][]byte // as its rows are
}

// viewRow is a member, and what it is of a packet.
type viewRow struct {
	path string
	of   func(p *packet.Packet) uint64
}

var xdpRows = []viewRow{
	{"data", func(p *packet.Packet) uint64 { return p.Data }},
	{"data_end", func(p *packet.Packet) uint64 { return p.DataEnd }},
	{"data_meta", func(p *packet.Packet) uint64 { return p.DataMeta }},
	{"data_hard_start", func(p *packet.Packet) uint64 { return p.HardStart }},
	{"frame_sz", func(p *packet.Packet) uint64 { return p.HardEnd - p.HardStart }},
	{"flags", func(p *packet.Packet) uint64 { return uint64(p.XDPFlags) }},
}

var skbRows = []viewRow{
	{"head", func(p *packet.Packet) uint64 { return p.HardStart }},
	{"data", func(p *packet.Packet) uint64 { return p.Data }},
	{"tail", func(p *packet.Packet) uint64 { return p.DataEnd - p.HardStart }},
	{"end", func(p *packet.Packet) uint64 { return p.HardEnd - p.HardStart }},
	{"len", (*packet.Packet).Size},
	{"data_len", func(p *packet.Packet) uint64 { return p.End - p.DataEnd }},
	{"mac_len", func(p *packet.Packet) uint64 { return uint64(p.MACLen) }},
	{"mac_header", func(p *packet.Packet) uint64 { return header(p, p.MACHeader) }},
	{"network_header", func(p *packet.Packet) uint64 { return header(p, p.NetHeader) }},
	{"transport_header", func(p *packet.Packet) uint64 { return header(p, p.TransHeader) }},
	{"protocol", func(p *packet.Packet) uint64 { return uint64(p.Protocol) }},
	{"mark", func(p *packet.Packet) uint64 { return uint64(p.Mark) }},
	{"priority", func(p *packet.Packet) uint64 { return uint64(p.Priority) }},
	{"hash", func(p *packet.Packet) uint64 { return uint64(p.Hash) }},
	{"queue_mapping", func(p *packet.Packet) uint64 { return uint64(p.QueueMapping) }},
	{"vlan_proto", func(p *packet.Packet) uint64 { return uint64(p.VLANProto) }},
	{"vlan_tci", func(p *packet.Packet) uint64 { return uint64(p.VLANTCI) }},
	{"skb_iif", func(p *packet.Packet) uint64 { return uint64(p.IngressIfindex) }},
	{"tc_index", func(p *packet.Packet) uint64 { return uint64(p.TCIndex) }},
	{"tstamp", func(p *packet.Packet) uint64 { return p.Tstamp }},
	{"napi_id", func(p *packet.Packet) uint64 { return uint64(p.NAPIID) }},
}

var skbBitRows = []struct {
	path string
	of   func(p *packet.Packet) byte
}{
	{"pkt_type", func(p *packet.Packet) byte { return byte(p.PktType) }},
	{"ip_summed", func(p *packet.Packet) byte { return p.IPSummed }},
}

// header is a header's place as an sk_buff has it: from its head, all ones where it is not known.
func header(p *packet.Packet, at uint64) uint64 {
	if at == 0 {
		return 0xffff
	}
	return at - p.HardStart
}

// viewedDevice is a net_device.
type viewedDevice struct {
	kstruct.Struct
	ifindex uint32 // whose it is
}

func (d *viewedDevice) show(ifindex uint32, net packet.Net) {
	if d.ifindex == ifindex {
		return
	}
	d.ifindex = ifindex
	clear(d.Bytes)
	d.Set("ifindex", uint64(ifindex))
	if dev := net.Device(ifindex); dev != nil {
		d.Text("name", dev.Name)
		d.Set("mtu", uint64(dev.MTU))
		d.Set("hard_header_len", uint64(dev.HardHeader))
	}
}

// kernelView is the vCPU's view of packets by a kernel's types.
func (c *CPU) kernelView(types *btf.Spec) (*kernelView, error) {
	if c.view == nil || c.view.types != types {
		v := &kernelView{types: types}
		if c.view != nil {
			v.blocks = c.view.blocks // programs that run may still look at them
		}
		c.view = v
		if err := v.make(); err != nil {
			return nil, err
		}
	}
	return c.view, nil
}

func (v *kernelView) make() error {
	var failed error
	structure := func(name string) kstruct.Struct {
		s, err := v.structure(name)
		if err != nil {
			failed = err
		}
		return s
	}
	members := func(s *kstruct.Struct, rows []viewRow) (w viewed) {
		w.addr = s.Addr
		for _, r := range rows {
			w.fields = append(w.fields, s.Field(r.path))
		}
		return w
	}
	xdp, skb := structure("xdp_buff"), structure("sk_buff")
	v.xdp, v.skb = members(&xdp, xdpRows), members(&skb, skbRows)
	v.rxq, v.txq = structure("xdp_rxq_info"), structure("xdp_txq_info")
	v.rx.Struct, v.tx.Struct = structure("net_device"), structure("net_device")
	xdp.Set("rxq", v.rxq.Addr)
	v.rxq.Set("dev", v.rx.Addr)
	v.txq.Set("dev", v.tx.Addr)
	v.queue, v.txDev, v.skbDev = v.rxq.Field("queue_index"), xdp.Field("txq"), skb.Field("dev")
	for _, r := range skbBitRows {
		v.bits = append(v.bits, skb.Bits(r.path))
	}
	return failed
}

// structure makes one of the structures, which lives as long as the view.
func (v *kernelView) structure(name string) (kstruct.Struct, error) {
	size := 8
	var t *btf.Struct
	if v.types != nil && v.types.TypeByName(name, &t) == nil {
		size = max(int(t.Size), size)
	}
	b, err := mem.Alloc(size)
	if err != nil {
		return kstruct.Struct{}, err
	}
	v.blocks = append(v.blocks, b)
	return kstruct.New(v.types, name, b.Bytes(), b.Addr()), nil
}

func (v *kernelView) free() {
	if v == nil {
		return
	}
	for _, b := range v.blocks {
		b.Free()
	}
}

// show fills in the members of rows.
func (w *viewed) show(rows []viewRow, p *packet.Packet) uint64 {
	for i := range rows {
		kstruct.Put(w.fields[i], rows[i].of(p))
	}
	return w.addr
}

// device is the address of a device that d shows from now on; there is none with index 0.
func (v *kernelView) device(d *viewedDevice, ifindex uint32, net packet.Net) uint64 {
	if ifindex == 0 {
		return 0
	}
	d.show(ifindex, net)
	return d.Addr
}

// packet is the address of what stands for a packet.
func (v *kernelView) packet(p *packet.Packet, net packet.Net) uint64 {
	if p.Kind() != packet.KindXDP {
		kstruct.Put(v.skbDev, v.device(&v.rx, p.Ifindex, net))
		for i, r := range skbBitRows {
			v.bits[i].Put(r.of(p))
		}
		return v.skb.show(skbRows, p)
	}
	v.rx.show(p.RxIfindex, net)
	kstruct.Put(v.queue, uint64(p.RxQueue))
	kstruct.Put(v.txDev, 0)
	if p.TxIfindex != 0 {
		v.tx.show(p.TxIfindex, net)
		kstruct.Put(v.txDev, v.txq.Addr)
	}
	return v.xdp.show(xdpRows, p)
}
