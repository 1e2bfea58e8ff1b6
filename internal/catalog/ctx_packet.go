package catalog

// Sets of the types whose context is an __sk_buff.
const (
	inSKB    = inSocketFilter | inTC | inCGroupSKB | inLWT | inSkSKB // with the ordinary fields
	inSKBPkt = inSKB&^inSocketFilter | inFlowDissector               // with direct packet access
)

// skBuff is the context of packets as socket buffers
// (bpf_skb_is_valid_access and the program types' own rules on top).
var skBuff = Context{
	Name: "__sk_buff", Size: 192, Frame: true,
	Fields: []Field{
		{Name: "len", Off: 0, Size: 4, Read: inSKB, Narrow: 1, At: FrameLen, AtSize: 4},
		{Name: "pkt_type", Off: 4, Size: 4, Read: inSKB, Narrow: 1, At: FramePktType, AtSize: 4, Target: 1},
		{Name: "mark", Off: 8, Size: 4, Read: inSKB &^ inSkSKB, Write: inTC | inCGroupSKB | inLWT,
			Narrow: 1, At: FrameMark, AtSize: 4},
		{Name: "queue_mapping", Off: 12, Size: 4, Read: inSKB, Write: inTC,
			Narrow: 1, At: FrameQueueMapping, AtSize: 2, Conv: ConvQueue},
		{Name: "protocol", Off: 16, Size: 4, Read: inSKB, Narrow: 1, At: FrameProtocol, AtSize: 4, Target: 2},
		{Name: "vlan_present", Off: 20, Size: 4, Read: inSKB, Narrow: 1, At: FrameVLANPresent, AtSize: 4},
		{Name: "vlan_tci", Off: 24, Size: 4, Read: inSKB, Narrow: 1, At: FrameVLANTCI, AtSize: 4, Target: 2},
		{Name: "vlan_proto", Off: 28, Size: 4, Read: inSKB, Narrow: 1, At: FrameVLANProto, AtSize: 4, Target: 2},
		{Name: "priority", Off: 32, Size: 4, Read: inSKB, Write: inTC | inCGroupSKB | inLWT | inSkSKB,
			Narrow: 1, At: FramePriority, AtSize: 4},
		{Name: "ingress_ifindex", Off: 36, Size: 4, Read: inSKB, Narrow: 1, At: FrameIngressIfindex, AtSize: 4},
		{Name: "ifindex", Off: 40, Size: 4, Read: inSKB, Narrow: 1, At: FrameIfindex, AtSize: 4},
		{Name: "tc_index", Off: 44, Size: 4, Read: inSKB, Write: inTC | inSkSKB,
			Narrow: 1, At: FrameTCIndex, AtSize: 2},
		{Name: "cb", Off: 48, Size: 20, Elem: 4, Read: inSKB, Write: inTC | inCGroupSKB | inLWT | inSocketFilter,
			Narrow: 1, NarrowWrite: true, Wide: true, At: FrameCB, AtSize: 4},
		{Name: "hash", Off: 68, Size: 4, Read: inSKB, Narrow: 1, At: FrameHash, AtSize: 4},
		{Name: "tc_classid", Off: 72, Size: 4, Read: inTC, Write: inTC, Narrow: 1, At: FrameTCClassID, AtSize: 2},
		{Name: "data", Off: 76, Size: 4, Kind: FieldPkt, Read: inSKBPkt, ReadBPF: inCGroupSKB,
			At: FrameData, AtSize: 8},
		{Name: "data_end", Off: 80, Size: 4, Kind: FieldPktEnd, Read: inSKBPkt, ReadBPF: inCGroupSKB,
			At: FrameDataEnd, AtSize: 8},
		{Name: "napi_id", Off: 84, Size: 4, Read: inSKB, Narrow: 1, At: FrameNAPIID, AtSize: 4},
		{Name: "family", Off: 88, Size: 4, Read: inCGroupSKB | inSkSKB, Narrow: 1, At: FrameFamily, AtSize: 4, Target: 2},
		{Name: "remote_ip4", Off: 92, Size: 4, Read: inCGroupSKB | inSkSKB, At: FrameRemoteIP4, AtSize: 4},
		{Name: "local_ip4", Off: 96, Size: 4, Read: inCGroupSKB | inSkSKB, At: FrameLocalIP4, AtSize: 4},
		{Name: "remote_ip6", Off: 100, Size: 16, Elem: 4, Read: inCGroupSKB | inSkSKB, At: FrameRemoteIP6, AtSize: 4},
		{Name: "local_ip6", Off: 116, Size: 16, Elem: 4, Read: inCGroupSKB | inSkSKB, At: FrameLocalIP6, AtSize: 4},
		// A 2-byte load of remote_port yields a value of 4 bytes in the kernel, more than its verifier believes; here it yields 2.
		{Name: "remote_port", Off: 132, Size: 4, Read: inCGroupSKB | inSkSKB, Narrow: 1, At: FrameRemotePort, AtSize: 4},
		{Name: "local_port", Off: 136, Size: 4, Read: inCGroupSKB | inSkSKB, Narrow: 1, At: FrameLocalPort, AtSize: 4, Target: 2},
		{Name: "data_meta", Off: 140, Size: 4, Kind: FieldPktMeta, Read: inTC, At: FrameDataMeta, AtSize: 8},
		{Name: "flow_keys", Off: 144, Size: 8, Kind: FieldFlowKeys, Read: inFlowDissector, At: FrameFlowKeys, AtSize: 8},
		{Name: "tstamp", Off: 152, Size: 8, Read: inTC | inCGroupSKB, Write: inTC | inCGroupSKB, WriteBPF: inCGroupSKB,
			At: FrameTstamp, AtSize: 8},
		{Name: "wire_len", Off: 160, Size: 4, Read: inTC, Narrow: 1, At: FrameWireLen, AtSize: 4},
		{Name: "gso_segs", Off: 164, Size: 4, Read: inSKB, Narrow: 1, At: FrameGSOSegs, AtSize: 4, Target: 2},
		{Name: "sk", Off: 168, Size: 8, Kind: FieldSockCommon, MaybeNull: true, Read: inSKB, At: FrameSock, AtSize: 8},
		{Name: "gso_size", Off: 176, Size: 4, Read: inSKB, Narrow: 1, At: FrameGSOSize, AtSize: 4, Target: 2},
		{Name: "tstamp_type", Off: 180, Size: 1, Read: inTC, At: FrameTstampType, AtSize: 4},
		{Name: "hwtstamp", Off: 184, Size: 8, Read: inTC | inCGroupSKB, At: FrameHWTstamp, AtSize: 8},
	},
}

// xdpMD is the context of XDP programs (xdp_is_valid_access).
var xdpMD = Context{
	Name: "xdp_md", Size: 24, Frame: true,
	Fields: []Field{
		{Name: "data", Off: 0, Size: 4, Kind: FieldPkt, Read: inXDP, At: FrameData, AtSize: 8},
		{Name: "data_end", Off: 4, Size: 4, Kind: FieldPktEnd, Read: inXDP, At: FrameDataEnd, AtSize: 8},
		{Name: "data_meta", Off: 8, Size: 4, Kind: FieldPktMeta, Read: inXDP, At: FrameDataMeta, AtSize: 8},
		{Name: "ingress_ifindex", Off: 12, Size: 4, Read: inXDP, At: FrameRxIfindex, AtSize: 4},
		{Name: "rx_queue_index", Off: 16, Size: 4, Read: inXDP, At: FrameRxQueue, AtSize: 4},
		{Name: "egress_ifindex", Off: 20, Size: 4, Read: inXDP, ReadAt: 1 << AttachXDPDevMap,
			At: FrameTxIfindex, AtSize: 4},
	},
}

// FlowKeysSize is the size of struct bpf_flow_keys, which programs may read and
// write at any offset.
const FlowKeysSize = 56
