package pcap

import (
	"fmt"
	"strings"
)

// LinkType is a link type as libpcap's handles have it (DLT_…); that of a
// capture file is turned into one by FromFile.
type LinkType int

// Link types with rules of their own. The others go by their names; see
// LinkTypeByName.
const (
	Null             LinkType = 0
	Ethernet         LinkType = 1
	IEEE8025         LinkType = 6
	ARCNET           LinkType = 7
	SLIP             LinkType = 8
	PPP              LinkType = 9
	FDDI             LinkType = 10
	ATMRFC1483       LinkType = 11
	Raw              LinkType = 12
	CHDLC            LinkType = 104
	IEEE80211        LinkType = 105
	FrameRelay       LinkType = 107
	Loop             LinkType = 108
	Enc              LinkType = 109
	HDLC             LinkType = 112
	LinuxSLL         LinkType = 113
	PFLog            LinkType = 117
	Prism            LinkType = 119
	IPOverFC         LinkType = 122
	SunATM           LinkType = 123
	IEEE80211Radio   LinkType = 127
	ARCNETLinux      LinkType = 129
	MTP2WithHeader   LinkType = 139
	MTP2             LinkType = 140
	IEEE80211AVS     LinkType = 163
	PPPD             LinkType = 166
	PPI              LinkType = 192
	ERF              LinkType = 197
	IPNet            LinkType = 226
	RawIPv4          LinkType = 228
	RawIPv6          LinkType = 229
	NetAnalyzer      LinkType = 240
	NetAnalyzerTrans LinkType = 241
	LinuxSLL2        LinkType = 276
)

// Link types from here on are the same in handles and files; those up to
// maxLink compile, if with nothing known of them.
const (
	minMatching LinkType = 104
	maxLink     LinkType = 289
)

// family groups link types that tell protocols apart in the same way.
type family uint8

const (
	familyOther      family = iota // an EtherType where the row says
	familyNone                     // no way that is known
	familyEthernet                 // EtherType, or length and LLC
	familyLLC                      // LLC, SNAP taken for granted
	family80211                    // LLC, in data frames
	familySunATM                   // LLC, in LLC circuits
	familySLL                      // EtherType, or a code for LLC
	familyHDLC                     // EtherType, ISO apart
	familyPPP                      // PPP's protocol numbers
	familyPPPBSD                   // the same, and compressed headers
	familyRaw                      // the IP version
	familyIPv4                     // none: all packets are IPv4
	familyIPv6                     // none: all packets are IPv6
	familyLoopback                 // an address family
	familyPFLOG                    // an address family, in a header
	familyARCNET                   // ARCNET's codes
	familyLocalTalk                // none: all packets are AppleTalk
	familyFrameRelay               // NLPID
	familyJuniper                  // all that bears Juniper's magic number
	familyBACnet                   // all that bears a preamble
	familyIPNET                    // Solaris's address family
)

// offsets are where the parts of a packet lie, in bytes:
//
//	linkType          the protocol of the layer above, from the packet's start
//	payload           the end of the link header, from the packet's start
//	net, netNoSNAP    the network layer, from payload: behind LLC and SNAP,
//	                  and behind an LLC header without SNAP
type offsets struct {
	linkType, payload, net, netNoSNAP uint32
}

// unset is an offset that means nothing on the link type.
const unset = 0xffffffff

// linkRow is what is known of a link type.
type linkRow struct {
	name, desc string
	family     family
	offsets    *offsets
	noLink     string // familyNone: what to call it in the message
}

// row returns the row of a link type.
func (l LinkType) row() *linkRow {
	if l >= 0 && l <= maxLink {
		return &links[l]
	}
	return &linkRow{}
}

// String returns the name without DLT_, as tcpdump -y takes it.
func (l LinkType) String() string {
	if n := l.row().name; n != "" {
		return n
	}
	return fmt.Sprintf("DLT %d", int(l))
}

// Description returns what the link type is, in words.
func (l LinkType) Description() string {
	if d := l.row().desc; d != "" {
		return d
	}
	return fmt.Sprintf("DLT %d", int(l))
}

// LinkTypeByName returns the link type of a name, with or without DLT_, in
// either case.
func LinkTypeByName(name string) (LinkType, bool) {
	if len(name) > 4 && strings.EqualFold(name[:4], "DLT_") {
		name = name[4:]
	}
	if name != "" {
		for l := range links {
			if strings.EqualFold(links[l].name, name) {
				return LinkType(l), true
			}
		}
	}
	return 0, false
}

// LinkTypes returns all link types that have a name, in order.
func LinkTypes() []LinkType {
	var all []LinkType
	for l := range links {
		if links[l].name != "" {
			all = append(all, LinkType(l))
		}
	}
	return all
}

// FromFile returns the link type of a capture file's LINKTYPE_ number, which
// differs from that of handles below 104.
func FromFile(linktype uint32) LinkType {
	switch linktype {
	case 100:
		return ATMRFC1483
	case 101:
		return Raw
	case 102:
		return 15 // SLIP_BSDOS
	case 103:
		return 16 // PPP_BSDOS
	case 106:
		return 19 // ATM_CLIP
	}
	return LinkType(linktype & 0x3ffffff)
}

// links has a row for each link type that has a name in libpcap 1.10, and its
// HDLC, which has none.
var links = [maxLink + 1]linkRow{
	0:   {name: "NULL", desc: "BSD loopback", family: familyLoopback, offsets: &offsets{0, 4, 0, 0}},
	1:   {name: "EN10MB", desc: "Ethernet", family: familyEthernet, offsets: &offsets{12, 14, 0, 3}},
	6:   {name: "IEEE802", desc: "Token ring", family: familyLLC, offsets: &offsets{14, 14, 8, 3}},
	7:   {name: "ARCNET", desc: "BSD ARCNET", family: familyARCNET, offsets: &offsets{2, 6, 0, 0}},
	8:   {name: "SLIP", desc: "SLIP", family: familyRaw, offsets: &offsets{unset, 16, 0, 0}},
	9:   {name: "PPP", desc: "PPP", family: familyPPP, offsets: &offsets{2, 4, 0, 0}},
	10:  {name: "FDDI", desc: "FDDI", family: familyLLC, offsets: &offsets{13, 13, 8, 3}},
	11:  {name: "ATM_RFC1483", desc: "RFC 1483 LLC-encapsulated ATM", family: familyLLC, offsets: &offsets{0, 0, 8, 3}},
	12:  {name: "RAW", desc: "Raw IP", family: familyRaw, offsets: &offsets{unset, 0, 0, 0}},
	15:  {name: "SLIP_BSDOS", desc: "BSD/OS SLIP", family: familyRaw, offsets: &offsets{unset, 24, 0, 0}},
	16:  {name: "PPP_BSDOS", desc: "BSD/OS PPP", family: familyPPPBSD, offsets: &offsets{5, 24, 0, 0}},
	19:  {name: "ATM_CLIP", desc: "Linux Classical IP over ATM", family: familyLLC, offsets: &offsets{0, 0, 8, 3}},
	50:  {name: "PPP_SERIAL", desc: "PPP over serial", family: familyPPP, offsets: &offsets{2, 4, 0, 0}},
	51:  {name: "PPP_ETHER", desc: "PPPoE", family: familyPPP, offsets: &offsets{6, 8, 0, 0}},
	99:  {name: "SYMANTEC_FIREWALL", desc: "Symantec Firewall", family: familyOther, offsets: &offsets{6, 44, 0, 0}},
	104: {name: "C_HDLC", desc: "Cisco HDLC", family: familyHDLC, offsets: &offsets{2, 4, 0, 0}},
	105: {name: "IEEE802_11", desc: "802.11", family: family80211, offsets: &offsets{24, 0, 8, 3}},
	107: {name: "FRELAY", desc: "Frame Relay", family: familyFrameRelay, offsets: &offsets{unset, 0, 0, 0}},
	108: {name: "LOOP", desc: "OpenBSD loopback", family: familyLoopback, offsets: &offsets{0, 4, 0, 0}},
	109: {name: "ENC", desc: "OpenBSD encapsulated IP", family: familyLoopback, offsets: &offsets{0, 12, 0, 0}},
	112: {name: "HDLC", family: familyHDLC, offsets: &offsets{2, 4, 0, 0}},
	113: {name: "LINUX_SLL", desc: "Linux cooked v1", family: familySLL, offsets: &offsets{14, 16, 0, 0}},
	114: {name: "LTALK", desc: "Localtalk", family: familyLocalTalk, offsets: &offsets{unset, 0, 0, 0}},
	117: {name: "PFLOG", desc: "OpenBSD pflog file", family: familyPFLOG, offsets: &offsets{0, 0, 0, 0}},
	119: {name: "PRISM_HEADER", desc: "802.11 plus Prism header", family: family80211, offsets: &offsets{24, 0, 8, 3}},
	122: {name: "IP_OVER_FC", desc: "RFC 2625 IP-over-Fibre Channel", family: familyLLC, offsets: &offsets{16, 16, 8, 3}},
	123: {name: "SUNATM", desc: "Sun raw ATM", family: familySunATM, offsets: &offsets{4, 4, 8, 3}},
	127: {name: "IEEE802_11_RADIO", desc: "802.11 plus radiotap header", family: family80211, offsets: &offsets{24, 0, 8, 3}},
	129: {name: "ARCNET_LINUX", desc: "Linux ARCNET", family: familyARCNET, offsets: &offsets{4, 8, 0, 0}},
	130: {name: "JUNIPER_MLPPP", desc: "Juniper Multi-Link PPP", family: familyJuniper, offsets: &offsets{4, 4, 0, unset}},
	131: {name: "JUNIPER_MLFR", desc: "Juniper Multi-Link Frame Relay", family: familyJuniper, offsets: &offsets{4, 4, 0, unset}},
	132: {name: "JUNIPER_ES", desc: "Juniper Encryption Services PIC", family: familyJuniper, offsets: &offsets{6, unset, unset, unset}},
	133: {name: "JUNIPER_GGSN", desc: "Juniper GGSN PIC", family: familyJuniper, offsets: &offsets{6, 12, 0, unset}},
	134: {name: "JUNIPER_MFR", desc: "Juniper FRF.16 Frame Relay", family: familyJuniper, offsets: &offsets{4, 4, 0, unset}},
	135: {name: "JUNIPER_ATM2", desc: "Juniper ATM2 PIC", family: familyJuniper, offsets: &offsets{8, 8, 0, 10}},
	136: {name: "JUNIPER_SERVICES", desc: "Juniper Advanced Services PIC", family: familyJuniper, offsets: &offsets{12, unset, unset, unset}},
	137: {name: "JUNIPER_ATM1", desc: "Juniper ATM1 PIC", family: familyJuniper, offsets: &offsets{4, 4, 0, 10}},
	138: {name: "APPLE_IP_OVER_IEEE1394", desc: "Apple IP-over-IEEE 1394", family: familyOther, offsets: &offsets{16, 18, 0, 0}},
	139: {name: "MTP2_WITH_PHDR", desc: "SS7 MTP2 with Pseudo-header", family: familyNone, offsets: &offsets{unset, unset, unset, unset}, noLink: "MTP2"},
	140: {name: "MTP2", desc: "SS7 MTP2", family: familyNone, offsets: &offsets{unset, unset, unset, unset}, noLink: "MTP2"},
	141: {name: "MTP3", desc: "SS7 MTP3"},
	142: {name: "SCCP", desc: "SS7 SCCP"},
	143: {name: "DOCSIS", desc: "DOCSIS", family: familyNone, noLink: "DOCSIS"},
	144: {name: "LINUX_IRDA", desc: "Linux IrDA", family: familyNone, noLink: "IrDA"},
	163: {name: "IEEE802_11_RADIO_AVS", desc: "802.11 plus AVS radio information header", family: family80211, offsets: &offsets{24, 0, 8, 3}},
	164: {name: "JUNIPER_MONITOR", desc: "Juniper Passive Monitor PIC", family: familyJuniper, offsets: &offsets{12, 12, 0, unset}},
	165: {name: "BACNET_MS_TP", desc: "BACnet MS/TP", family: familyBACnet, offsets: &offsets{unset, unset, unset, unset}},
	166: {name: "PPP_PPPD", desc: "PPP for pppd, with direction flag", family: familyPPP, offsets: &offsets{2, 4, 0, 0}},
	167: {name: "JUNIPER_PPPOE", desc: "Juniper PPPoE", family: familyJuniper, offsets: &offsets{16, 14, 18, 21}},
	168: {name: "JUNIPER_PPPOE_ATM", desc: "Juniper PPPoE/ATM", family: familyJuniper, offsets: &offsets{4, 6, 0, unset}},
	169: {name: "GPRS_LLC", desc: "GPRS LLC"},
	170: {name: "GPF_T", desc: "GPF-T"},
	171: {name: "GPF_F", desc: "GPF-F"},
	174: {name: "JUNIPER_PIC_PEER", desc: "Juniper PIC Peer"},
	175: {name: "ERF_ETH", desc: "Ethernet with Endace ERF header"},
	176: {name: "ERF_POS", desc: "Packet-over-SONET with Endace ERF header"},
	177: {name: "LINUX_LAPD", desc: "Linux vISDN LAPD", family: familyNone, noLink: "LAPD"},
	178: {name: "JUNIPER_ETHER", desc: "Juniper Ethernet", family: familyJuniper, offsets: &offsets{16, 14, 18, 21}},
	179: {name: "JUNIPER_PPP", desc: "Juniper PPP", family: familyJuniper, offsets: &offsets{4, 4, 0, unset}},
	180: {name: "JUNIPER_FRELAY", desc: "Juniper Frame Relay", family: familyJuniper, offsets: &offsets{4, 4, 0, unset}},
	181: {name: "JUNIPER_CHDLC", desc: "Juniper C-HDLC", family: familyJuniper, offsets: &offsets{4, 4, 0, unset}},
	182: {name: "MFR", desc: "FRF.16 Frame Relay", family: familyNone, offsets: &offsets{unset, 0, 4, 0}, noLink: "Multi-link Frame Relay"},
	183: {name: "JUNIPER_VP", desc: "Juniper Voice PIC", family: familyJuniper, offsets: &offsets{18, unset, unset, unset}},
	184: {name: "A429", desc: "Arinc 429"},
	185: {name: "A653_ICM", desc: "Arinc 653 Interpartition Communication"},
	186: {name: "USB_FREEBSD", desc: "USB with FreeBSD header", family: familyNone, noLink: "USB"},
	187: {name: "BLUETOOTH_HCI_H4", desc: "Bluetooth HCI UART transport layer", family: familyNone, noLink: "Bluetooth"},
	188: {name: "IEEE802_16_MAC_CPS", desc: "IEEE 802.16 MAC Common Part Sublayer"},
	189: {name: "USB_LINUX", desc: "USB with Linux header", family: familyNone, noLink: "USB"},
	190: {name: "CAN20B", desc: "Controller Area Network (CAN) v. 2.0B", family: familyNone, noLink: "CAN"},
	191: {name: "IEEE802_15_4_LINUX", desc: "IEEE 802.15.4 with Linux padding", family: familyNone, noLink: "IEEE 802.15.4"},
	192: {name: "PPI", desc: "Per-Packet Information", family: family80211, offsets: &offsets{24, 0, 8, 3}},
	193: {name: "IEEE802_16_MAC_CPS_RADIO", desc: "IEEE 802.16 MAC Common Part Sublayer plus radiotap header", family: familyNone, noLink: "IEEE 802.16"},
	194: {name: "JUNIPER_ISM", desc: "Juniper Integrated Service Module", family: familyJuniper, offsets: &offsets{8, unset, unset, unset}},
	195: {name: "IEEE802_15_4", desc: "IEEE 802.15.4 with FCS", family: familyNone, noLink: "IEEE 802.15.4"},
	196: {name: "SITA", desc: "SITA pseudo-header", family: familyNone, noLink: "SITA"},
	197: {name: "ERF", desc: "Endace ERF header", family: familyNone, offsets: &offsets{unset, unset, unset, unset}, noLink: "ERF"},
	198: {name: "RAIF1", desc: "Ethernet with u10 Networks pseudo-header", family: familyNone, noLink: "RAIF1"},
	199: {name: "IPMB_KONTRON", desc: "IPMB with Kontron pseudo-header", family: familyNone, noLink: "IPMB"},
	200: {name: "JUNIPER_ST", desc: "Juniper Secure Tunnel", family: familyJuniper, offsets: &offsets{18, unset, unset, unset}},
	201: {name: "BLUETOOTH_HCI_H4_WITH_PHDR", desc: "Bluetooth HCI UART transport layer plus pseudo-header", family: familyNone, noLink: "Bluetooth"},
	202: {name: "AX25_KISS", desc: "AX.25 with KISS header", family: familyNone, offsets: &offsets{unset, unset, unset, unset}, noLink: "AX.25"},
	209: {name: "IPMB_LINUX", desc: "IPMB with Linux/Pigeon Point pseudo-header", family: familyNone, noLink: "IPMB"},
	215: {name: "IEEE802_15_4_NONASK_PHY", desc: "IEEE 802.15.4 with non-ASK PHY data", family: familyNone, noLink: "IEEE 802.15.4"},
	216: {name: "LINUX_EVDEV", desc: "Linux evdev events"},
	219: {name: "MPLS", desc: "MPLS with label as link-layer header"},
	220: {name: "USB_LINUX_MMAPPED", desc: "USB with padded Linux header", family: familyNone, noLink: "USB"},
	221: {name: "DECT", desc: "DECT"},
	222: {name: "AOS", desc: "AOS Space Data Link protocol"},
	223: {name: "WIHART", desc: "Wireless HART"},
	224: {name: "FC_2", desc: "Fibre Channel FC-2"},
	225: {name: "FC_2_WITH_FRAME_DELIMS", desc: "Fibre Channel FC-2 with frame delimiters"},
	226: {name: "IPNET", desc: "Solaris ipnet", family: familyIPNET, offsets: &offsets{1, 24, 0, unset}},
	227: {name: "CAN_SOCKETCAN", desc: "CAN-bus with SocketCAN headers", family: familyNone, noLink: "CAN"},
	228: {name: "IPV4", desc: "Raw IPv4", family: familyIPv4, offsets: &offsets{unset, 0, 0, 0}},
	229: {name: "IPV6", desc: "Raw IPv6", family: familyIPv6, offsets: &offsets{unset, 0, 0, 0}},
	230: {name: "IEEE802_15_4_NOFCS", desc: "IEEE 802.15.4 without FCS", family: familyNone, noLink: "IEEE 802.15.4"},
	231: {name: "DBUS", desc: "D-Bus"},
	232: {name: "JUNIPER_VS", desc: "Juniper Virtual Server", family: familyJuniper, offsets: &offsets{8, unset, unset, unset}},
	233: {name: "JUNIPER_SRX_E2E", desc: "Juniper SRX E2E", family: familyJuniper, offsets: &offsets{8, unset, unset, unset}},
	234: {name: "JUNIPER_FIBRECHANNEL", desc: "Juniper Fibre Channel", family: familyJuniper, offsets: &offsets{8, unset, unset, unset}},
	235: {name: "DVB_CI", desc: "DVB-CI"},
	236: {name: "MUX27010", desc: "MUX27010"},
	237: {name: "STANAG_5066_D_PDU", desc: "STANAG 5066 D_PDUs"},
	238: {name: "JUNIPER_ATM_CEMIC", desc: "Juniper ATM CEMIC", family: familyJuniper, offsets: &offsets{8, unset, unset, unset}},
	239: {name: "NFLOG", desc: "Linux netfilter log messages", family: familyNone, noLink: "NFLOG"},
	240: {name: "NETANALYZER", desc: "Ethernet with Hilscher netANALYZER pseudo-header", family: familyEthernet, offsets: &offsets{16, 18, 0, 3}},
	241: {name: "NETANALYZER_TRANSPARENT", desc: "Ethernet with Hilscher netANALYZER pseudo-header and with preamble and SFD", family: familyEthernet, offsets: &offsets{24, 26, 0, 3}},
	242: {name: "IPOIB", desc: "RFC 4391 IP-over-Infiniband"},
	243: {name: "MPEG_2_TS", desc: "MPEG-2 transport stream"},
	244: {name: "NG40", desc: "ng40 protocol tester Iub/Iur"},
	245: {name: "NFC_LLCP", desc: "NFC LLCP PDUs with pseudo-header"},
	246: {name: "PFSYNC", desc: "Packet filter state syncing", family: familyNone, offsets: &offsets{unset, 4, 0, 0}, noLink: "PFSYNC"},
	247: {name: "INFINIBAND", desc: "InfiniBand"},
	248: {name: "SCTP", desc: "SCTP"},
	249: {name: "USBPCAP", desc: "USB with USBPcap header", family: familyNone, noLink: "USB"},
	250: {name: "RTAC_SERIAL", desc: "Schweitzer Engineering Laboratories RTAC packets"},
	251: {name: "BLUETOOTH_LE_LL", desc: "Bluetooth Low Energy air interface"},
	253: {name: "NETLINK", desc: "Linux netlink"},
	254: {name: "BLUETOOTH_LINUX_MONITOR", desc: "Bluetooth Linux Monitor"},
	255: {name: "BLUETOOTH_BREDR_BB", desc: "Bluetooth Basic Rate/Enhanced Data Rate baseband packets"},
	256: {name: "BLUETOOTH_LE_LL_WITH_PHDR", desc: "Bluetooth Low Energy air interface with pseudo-header"},
	257: {name: "PROFIBUS_DL", desc: "PROFIBUS data link layer"},
	258: {name: "PKTAP", desc: "Apple DLT_PKTAP"},
	259: {name: "EPON", desc: "Ethernet with 802.3 Clause 65 EPON preamble"},
	260: {name: "IPMI_HPM_2", desc: "IPMI trace packets"},
	261: {name: "ZWAVE_R1_R2", desc: "Z-Wave RF profile R1 and R2 packets"},
	262: {name: "ZWAVE_R3", desc: "Z-Wave RF profile R3 packets"},
	263: {name: "WATTSTOPPER_DLM", desc: "WattStopper Digital Lighting Management (DLM) and Legrand Nitoo Open protocol"},
	264: {name: "ISO_14443", desc: "ISO 14443 messages"},
	265: {name: "RDS", desc: "IEC 62106 Radio Data System groups"},
	266: {name: "USB_DARWIN", desc: "USB with Darwin header"},
	267: {name: "OPENFLOW", desc: "OpenBSD DLT_OPENFLOW"},
	268: {name: "SDLC", desc: "IBM SDLC frames"},
	269: {name: "TI_LLN_SNIFFER", desc: "TI LLN sniffer frames"},
	271: {name: "VSOCK", desc: "Linux vsock"},
	272: {name: "NORDIC_BLE", desc: "Nordic Semiconductor Bluetooth LE sniffer frames"},
	273: {name: "DOCSIS31_XRA31", desc: "Excentis XRA-31 DOCSIS 3.1 RF sniffer frames"},
	274: {name: "ETHERNET_MPACKET", desc: "802.3br mPackets"},
	275: {name: "DISPLAYPORT_AUX", desc: "DisplayPort AUX channel monitoring data"},
	276: {name: "LINUX_SLL2", desc: "Linux cooked v2", family: familyOther, offsets: &offsets{0, 20, 0, 0}},
	278: {name: "OPENVIZSLA", desc: "OpenVizsla USB"},
	279: {name: "EBHSCR", desc: "Elektrobit High Speed Capture and Replay (EBHSCR)"},
	280: {name: "VPP_DISPATCH", desc: "VPP graph dispatch tracer"},
	281: {name: "DSA_TAG_BRCM", desc: "Broadcom tag"},
	282: {name: "DSA_TAG_BRCM_PREPEND", desc: "Broadcom tag (prepended)"},
	283: {name: "IEEE802_15_4_TAP", desc: "IEEE 802.15.4 with pseudo-header", family: familyNone, noLink: "IEEE 802.15.4"},
	284: {name: "DSA_TAG_DSA", desc: "Marvell DSA"},
	285: {name: "DSA_TAG_EDSA", desc: "Marvell EDSA"},
	286: {name: "ELEE", desc: "ELEE lawful intercept packets"},
	287: {name: "Z_WAVE_SERIAL", desc: "Z-Wave serial frames between host and chip"},
	288: {name: "USB_2_0", desc: "USB 2.0/1.1/1.0 as transmitted over the cable"},
	289: {name: "ATSC_ALP", desc: "ATSC Link-Layer Protocol packets"}}
