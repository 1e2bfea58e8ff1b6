package classic

// Offsets from which absolute loads do not count from the packet's first byte
// (linux/filter.h), as they lie in k.
const (
	AncillaryOffset = 0xfffff000 // SKF_AD_OFF: what the kernel knows about the packet
	NetworkOffset   = 0xfff00000 // SKF_NET_OFF: counted from the network header
	LinkOffset      = 0xffe00000 // SKF_LL_OFF: counted from the link header
)

// Ancillary is one thing that can be loaded from AncillaryOffset on.
type Ancillary uint32

// The ancillary loads: SKF_AD_* of <linux/filter.h>.
const (
	Protocol         Ancillary = 0
	PacketType       Ancillary = 4
	IfIndex          Ancillary = 8
	NLAttr           Ancillary = 12
	NLAttrNest       Ancillary = 16
	Mark             Ancillary = 20
	Queue            Ancillary = 24
	HardwareType     Ancillary = 28
	RXHash           Ancillary = 32
	CPU              Ancillary = 36
	ALUXorX          Ancillary = 40
	VLANTag          Ancillary = 44
	VLANTagPresent   Ancillary = 48
	PayloadOffset    Ancillary = 52
	Random           Ancillary = 56
	VLANTPID         Ancillary = 60
	ancillaryCeiling           = 64
)

// K returns the k of a load of the ancillary data.
func (a Ancillary) K() uint32 { return AncillaryOffset + uint32(a) }

// AncillaryRow is what there is to know of one ancillary load. The size of the
// load makes no difference.
type AncillaryRow struct {
	ID      Ancillary
	Name    string   // in bpf_asm
	Pcap    string   // in tcpdump -d
	Aliases []string // what assemblers also take
	Doc     string
}

// AncillaryRows are in the order of their offsets, without gaps.
var AncillaryRows = []AncillaryRow{
	{Protocol, "proto", "proto", nil, "A = protocol of the packet as Ethernet has it, 0x800 for IPv4"},
	{PacketType, "type", "type", nil, "A = PACKET_HOST, _BROADCAST, _MULTICAST, _OTHERHOST or _OUTGOING"},
	{IfIndex, "ifidx", "ifidx", nil, "A = index of the device; without one the program ends and returns A"},
	{NLAttr, "nla", "nla", nil, "A = offset of the netlink attribute of type X at or behind offset A, 0 if there is none"},
	{NLAttrNest, "nlan", "nlan", nil, "the same within the attribute at offset A"},
	{Mark, "mark", "mark", nil, "A = mark of the packet (SO_MARK)"},
	{Queue, "queue", "queue", nil, "A = queue of the device it came by"},
	{HardwareType, "hatype", "hatype", nil, "A = ARPHRD_* of the device; without one the program ends and returns A"},
	{RXHash, "rxhash", "rxhash", nil, "A = flow hash of the packet"},
	{CPU, "cpu", "cpu", nil, "A = number of the CPU that runs the program"},
	{ALUXorX, "xor_x", "xor_x", []string{"alu_xor_x"}, "A ^= X, from before there was xor"},
	{VLANTag, "vlan_tci", "vlan_tci", nil, "A = VLAN tag that was taken off the packet"},
	{VLANTagPresent, "vlan_avail", "vlanp", []string{"vlan_pr"}, "A = 1 where a VLAN tag was taken off, else 0"},
	{PayloadOffset, "poff", "poff", nil, "A = offset of what the transport protocol carries, 0 if not known"},
	{Random, "rand", "random", nil, "A = a random number"},
	{VLANTPID, "vlan_tpid", "vlan_tpid", nil, "A = protocol of that VLAN tag, 0x8100 or 0x88a8"},
}

// ancillaryOf returns the row of an absolute load's k, or nil.
func ancillaryOf(k uint32) *AncillaryRow {
	at := k - AncillaryOffset
	if k < AncillaryOffset || at >= ancillaryCeiling || at%4 != 0 {
		return nil
	}
	return &AncillaryRows[at/4]
}

// Ancillary returns the row of the ancillary data the instruction loads, or nil
// for any other instruction.
func (i Instruction) Ancillary() *AncillaryRow {
	switch i.Code {
	case LD | W | ABS, LD | H | ABS, LD | B | ABS:
		return ancillaryOf(i.K)
	}
	return nil
}

// ancillaryByName finds a row by any of its names.
func ancillaryByName(name string) *AncillaryRow {
	for i := range AncillaryRows {
		r := &AncillaryRows[i]
		if name == r.Name || name == r.Pcap {
			return r
		}
		for _, a := range r.Aliases {
			if name == a {
				return r
			}
		}
	}
	return nil
}
