package catalog

// xdpHelpers are the helpers over XDP buffers.
var xdpHelpers = [...]Helper{
	{
		ID: FnXDPAdjustHead, Name: "xdp_adjust_head", Since: "4.10",
		Doc:  "Moves the packet's start into the headroom or into the packet.",
		Args: [5]Arg{{Type: argCtx}, {Type: argAny}},
		Ret:  RetInteger, Flags: ChangesPkt,
		Progs: inXDP,
	},
	{
		ID: FnRedirectMap, Name: "redirect_map", Since: "4.14",
		Doc:   "Asks for the packet to be sent to the device, CPU or socket at a key of a map.",
		Args:  [5]Arg{{Type: argMap}, {Type: argAny}, {Type: argAny}},
		Ret:   RetInteger,
		Maps:  onDevMap | onDevMapHash | onCPUMap | onXSKMap,
		Progs: inXDP,
	},
	{
		ID: FnXDPAdjustMeta, Name: "xdp_adjust_meta", Since: "4.15",
		Doc:  "Moves the start of the metadata area in front of the packet.",
		Args: [5]Arg{{Type: argCtx}, {Type: argAny}},
		Ret:  RetInteger, Flags: ChangesPkt,
		Progs: inXDP,
	},
	{
		ID: FnXDPAdjustTail, Name: "xdp_adjust_tail", Since: "4.18",
		Doc:  "Moves the packet's end, shrinking or growing it.",
		Args: [5]Arg{{Type: argCtx}, {Type: argAny}},
		Ret:  RetInteger, Flags: ChangesPkt,
		Progs: inXDP,
	},
	{
		ID: FnXDPGetBuffLen, Name: "xdp_get_buff_len", Since: "5.18",
		Doc:   "Returns the packet's whole length, fragments included.",
		Args:  [5]Arg{{Type: argCtx}},
		Ret:   RetInteger,
		Progs: inXDP,
	},
	{
		ID: FnXDPGetBuffLen, Name: "xdp_get_buff_len", Since: "5.18",
		Doc:   "Returns the packet's whole length, fragments included.",
		Args:  [5]Arg{{Type: ArgBTFID, BTF: "xdp_buff"}},
		Ret:   RetInteger,
		Progs: inTyped,
	},
	{
		ID: FnXDPLoadBytes, Name: "xdp_load_bytes", Since: "5.18",
		Doc:   "Copies bytes of the packet, fragments included, into memory.",
		Args:  [5]Arg{{Type: argCtx}, {Type: argAny}, {Type: argMemOut}, {Type: argSize}},
		Ret:   RetInteger,
		Progs: inXDP,
	},
	{
		ID: FnXDPStoreBytes, Name: "xdp_store_bytes", Since: "5.18",
		Doc:   "Writes bytes into the packet, fragments included.",
		Args:  [5]Arg{{Type: argCtx}, {Type: argAny}, {Type: argMemIn}, {Type: argSize}},
		Ret:   RetInteger,
		Progs: inXDP,
	},
}
