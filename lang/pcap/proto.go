package pcap

// proto is the protocol qualifier.
type proto uint8

const (
	protoDefault proto = iota
	protoLink
	protoIP
	protoARP
	protoRARP
	protoSCTP
	protoTCP
	protoUDP
	protoICMP
	protoIGMP
	protoIGRP
	protoAtalk
	protoDECnet
	protoLAT
	protoSCA
	protoMOPRC
	protoMOPDL
	protoIP6
	protoICMP6
	protoAH
	protoESP
	protoPIM
	protoVRRP
	protoAARP
	protoISO
	protoESIS
	protoISIS
	protoCLNP
	protoSTP
	protoIPX
	protoNetBEUI
	protoL1
	protoL2
	protoIIH
	protoSNP
	protoCSNP
	protoPSNP
	protoLSP
	protoRadio
	protoCARP
	protoUndef proto = 255
)

// EtherTypes, and what stands for them in an LLC header: a protocol of the
// link layer is named by either, a number up to etherMTU being an LLC SAP.
const (
	etherMTU = 1500

	sapIP      = 0x06
	sapSTP     = 0x42
	sapSNAP    = 0xaa
	sapIPX     = 0xe0
	sapNetBEUI = 0xf0
	sapISO     = 0xfe

	etherNS      = 0x0600
	etherIP      = 0x0800
	etherARP     = 0x0806
	etherMOPDL   = 0x6001
	etherMOPRC   = 0x6002
	etherDECnet  = 0x6003
	etherLAT     = 0x6004
	etherSCA     = 0x6007
	etherTEB     = 0x6558
	etherRARP    = 0x8035
	etherAtalk   = 0x809b
	etherAARP    = 0x80f3
	ether8021Q   = 0x8100
	etherIPX     = 0x8137
	etherIP6     = 0x86dd
	etherMPLS    = 0x8847
	etherPPPoED  = 0x8863
	etherPPPoES  = 0x8864
	ether8021AD  = 0x88a8
	etherLoop    = 0x9000
	ether8021QiQ = 0x9100
)

// Protocol numbers of IP and IPv6, of ISO's network layer, and PDU types of
// IS-IS.
const (
	ipHopOpts  = 0
	ipICMP     = 1
	ipIGMP     = 2
	ipTCP      = 6
	ipIGRP     = 9
	ipUDP      = 17
	ipRouting  = 43
	ipFragment = 44
	ipESP      = 50
	ipAH       = 51
	ipICMP6    = 58
	ipNone     = 59
	ipDstOpts  = 60
	ipPIM      = 103
	ipVRRP     = 112 // CARP's too
	ipSCTP     = 132

	isoCLNP = 0x81
	isoESIS = 0x82
	isoISIS = 0x83

	isisL1IIH  = 15
	isisL2IIH  = 16
	isisPTPIIH = 17
	isisL1LSP  = 18
	isisL2LSP  = 20
	isisL1CSNP = 24
	isisL2CSNP = 25
	isisL1PSNP = 26
	isisL2PSNP = 27
)

// protoRow is what is known of a protocol.
type protoRow struct {
	name string

	// Alone, or before [offset], it means one of these: a protocol of the
	// link layer, or numbers in the header of the protocol over.
	link    uint32
	over    proto
	numbers []uint32

	// Why "proto host x", "proto proto x" and the like are refused, where
	// they are and not in the usual words; %s is host or net.
	noHost, noHost6, noProto string
}

// protocols has a row for each protocol qualifier.
var protocols = [...]protoRow{
	protoDefault: {},
	protoLink:    {name: "link", noHost: "link-layer modifier applied to %s", noHost6: "link-layer modifier applied to ip6 %s"},
	protoIP:      {name: "ip", link: etherIP},
	protoARP:     {name: "arp", link: etherARP, noProto: "arp does not encapsulate another protocol"},
	protoRARP:    {name: "rarp", link: etherRARP, noProto: "rarp does not encapsulate another protocol"},
	protoSCTP:    {name: "sctp", over: protoDefault, numbers: []uint32{ipSCTP}},
	protoTCP:     {name: "tcp", over: protoDefault, numbers: []uint32{ipTCP}},
	protoUDP:     {name: "udp", over: protoDefault, numbers: []uint32{ipUDP}},
	protoICMP:    {name: "icmp", over: protoIP, numbers: []uint32{ipICMP}},
	protoIGMP:    {name: "igmp", over: protoIP, numbers: []uint32{ipIGMP}},
	protoIGRP:    {name: "igrp", over: protoIP, numbers: []uint32{ipIGRP}},
	protoAtalk: {name: "atalk", link: etherAtalk, noHost: "AppleTalk host filtering not implemented",
		noHost6: "AppleTalk modifier applied to ip6 %s", noProto: "AppleTalk encapsulation is not specifiable"},
	protoDECnet: {name: "decnet", link: etherDECnet, noProto: "DECNET encapsulation is not specifiable"},
	protoLAT: {name: "lat", link: etherLAT, noHost: "LAT host filtering not implemented",
		noProto: "LAT does not encapsulate another protocol"},
	protoSCA: {name: "sca", link: etherSCA, noHost: "SCA host filtering not implemented",
		noProto: "SCA does not encapsulate another protocol"},
	protoMOPRC: {name: "moprc", link: etherMOPRC, noHost: "MOPRC host filtering not implemented",
		noProto: "MOPRC does not encapsulate another protocol"},
	protoMOPDL: {name: "mopdl", link: etherMOPDL, noHost: "MOPDL host filtering not implemented",
		noProto: "MOPDL does not encapsulate another protocol"},
	protoIP6:     {name: "ip6", link: etherIP6, noHost: "'ip6' modifier applied to ip host"},
	protoICMP6:   {name: "icmp6", over: protoIP6, numbers: []uint32{ipICMP6}},
	protoAH:      {name: "ah", over: protoDefault, numbers: []uint32{ipAH}},
	protoESP:     {name: "esp", over: protoDefault, numbers: []uint32{ipESP}},
	protoPIM:     {name: "pim", over: protoDefault, numbers: []uint32{ipPIM}},
	protoVRRP:    {name: "vrrp", over: protoIP, numbers: []uint32{ipVRRP}},
	protoAARP:    {name: "aarp", link: etherAARP, noHost: "AARP host filtering not implemented"},
	protoISO:     {name: "iso", link: sapISO, noHost: "ISO host filtering not implemented"},
	protoESIS:    {name: "esis", over: protoISO, numbers: []uint32{isoESIS}},
	protoISIS:    {name: "isis", over: protoISO, numbers: []uint32{isoISIS}},
	protoCLNP:    {name: "clnp", over: protoISO, numbers: []uint32{isoCLNP}, noProto: "'clnp proto' is not supported"},
	protoSTP:     {name: "stp", link: sapSTP},
	protoIPX:     {name: "ipx", link: sapIPX, noHost: "IPX host filtering not implemented"},
	protoNetBEUI: {name: "netbeui", link: sapNetBEUI},
	protoL1: {name: "l1", over: protoISIS,
		numbers: []uint32{isisL1IIH, isisPTPIIH, isisL1LSP, isisL1CSNP, isisL1PSNP}},
	protoL2: {name: "l2", over: protoISIS,
		numbers: []uint32{isisL2IIH, isisPTPIIH, isisL2LSP, isisL2CSNP, isisL2PSNP}},
	protoIIH: {name: "iih", over: protoISIS, numbers: []uint32{isisL1IIH, isisL2IIH, isisPTPIIH}},
	protoSNP: {name: "snp", over: protoISIS,
		numbers: []uint32{isisL1CSNP, isisL2CSNP, isisL1PSNP, isisL2PSNP}},
	protoCSNP:  {name: "csnp", over: protoISIS, numbers: []uint32{isisL1CSNP, isisL2CSNP}},
	protoPSNP:  {name: "psnp", over: protoISIS, numbers: []uint32{isisL1PSNP, isisL2PSNP}},
	protoLSP:   {name: "lsp", over: protoISIS, numbers: []uint32{isisL1LSP, isisL2LSP}},
	protoRadio: {name: "radio"},
	protoCARP:  {name: "carp", over: protoIP, numbers: []uint32{ipVRRP}},
}

// named is a name with its value.
type named struct {
	name  string
	value uint32
}

// 802.11 frame control: type and subtype in its first byte, direction in the
// second.
const (
	wlanTypeMask    = 0x0c
	wlanTypeCtl     = 0x04
	wlanSubtypeMask = 0xf0
	wlanCTS         = 0xc0
	wlanACK         = 0xd0
	wlanDirMask     = 0x03
	wlanDirDSToDS   = 0x03
)

var wlanTypes = []named{
	{"data", 0x08}, {"mgt", 0x00}, {"management", 0x00}, {"ctl", 0x04}, {"control", 0x04},
}

// wlanSubtypes has the subtypes of each type, a type being its bits >> 2.
var wlanSubtypes = [...][]named{
	{
		{"assocreq", 0x00}, {"assoc-req", 0x00}, {"assocresp", 0x10}, {"assoc-resp", 0x10},
		{"reassocreq", 0x20}, {"reassoc-req", 0x20}, {"reassocresp", 0x30}, {"reassoc-resp", 0x30},
		{"probereq", 0x40}, {"probe-req", 0x40}, {"proberesp", 0x50}, {"probe-resp", 0x50},
		{"beacon", 0x80}, {"atim", 0x90}, {"disassoc", 0xa0}, {"disassociation", 0xa0},
		{"auth", 0xb0}, {"authentication", 0xb0}, {"deauth", 0xc0}, {"deauthentication", 0xc0},
	},
	{
		{"ps-poll", 0xa0}, {"rts", 0xb0}, {"cts", 0xc0}, {"ack", 0xd0}, {"cf-end", 0xe0},
		{"cf-end-ack", 0xf0},
	},
	{
		{"data", 0x00}, {"data-cf-ack", 0x10}, {"data-cf-poll", 0x20}, {"data-cf-ack-poll", 0x30},
		{"null", 0x40}, {"cf-ack", 0x50}, {"cf-poll", 0x60}, {"cf-ack-poll", 0x70},
		{"qos-data", 0x80}, {"qos-data-cf-ack", 0x90}, {"qos-data-cf-poll", 0xa0},
		{"qos-data-cf-ack-poll", 0xb0}, {"qos", 0xc0}, {"qos-cf-poll", 0xe0},
		{"qos-cf-ack-poll", 0xf0},
	},
}

var wlanDirs = []named{{"nods", 0}, {"tods", 1}, {"fromds", 2}, {"dstods", 3}}

// LLC's control byte: its format in the low two bits, and subtypes.
const (
	llcFormatS = 0x01
	llcFormatU = 0x03
	llcMaskS   = 0x0f
	llcMaskU   = 0xef
	llcRNR     = 0x05
)

var llcSubtypes = []named{
	{"rr", 0x01}, {"rnr", llcRNR}, {"rej", 0x09},
	{"ui", 0x03}, {"ua", 0x63}, {"disc", 0x43}, {"dm", 0x0f}, {"sabme", 0x6f},
	{"test", 0xe3}, {"xid", 0xaf}, {"frmr", 0x87},
}

// Reasons and actions of pf.
var pfReasons = []named{
	{"match", 0}, {"bad-offset", 1}, {"fragment", 2}, {"short", 3}, {"normalize", 4},
	{"memory", 5}, {"bad-timestamp", 6}, {"congestion", 7}, {"ip-option", 8},
	{"proto-cksum", 9}, {"state-mismatch", 10}, {"state-insert", 11},
	{"state-limit", 12}, {"src-limit", 13}, {"synproxy", 14},
}

var pfActions = []named{
	{"pass", 0}, {"accept", 0}, {"drop", 1}, {"block", 1}, {"scrub", 2}, {"noscrub", 3},
	{"nat", 4}, {"nonat", 5}, {"binat", 6}, {"nobinat", 7}, {"rdr", 8}, {"nordr", 9},
	{"synproxy-drop", 10},
}

// LLC and ether names that "ether proto" takes besides numbers.
var etherProtos = []named{
	{"aarp", etherAARP}, {"arp", etherARP}, {"atalk", etherAtalk}, {"decnet", etherDECnet},
	{"ip", etherIP}, {"ip6", etherIP6}, {"lat", etherLAT}, {"loopback", etherLoop},
	{"mopdl", etherMOPDL}, {"moprc", etherMOPRC}, {"rarp", etherRARP}, {"sca", etherSCA},
	{"iso", sapISO}, {"stp", sapSTP}, {"ipx", sapIPX}, {"netbeui", sapNetBEUI},
}
