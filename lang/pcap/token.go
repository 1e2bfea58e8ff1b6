package pcap

// kind is the kind of a token, as the grammar distinguishes them. Words that
// the grammar treats alike share a kind and differ in the token's value.
type kind uint8

const (
	kEOF     kind = iota
	kInvalid      // no token starts here; the scanner has said why

	// Literals.
	kName  // a name: host, port, protocol; \word makes a name of a keyword
	kNum   // a number; so are tcpflags, icmp-echo and their like
	kAddr4 // 10.1, 10.1.2.3: two to four numbers
	kAddr6 // an IPv6 address
	kMAC   // an Ethernet address, in any of its spellings
	kARC   // $2a: an ARCnet address

	// Punctuation and operators.
	kLParen
	kRParen
	kLBrack
	kRBrack
	kColon
	kNot
	kAnd
	kOr
	kRel   // > >= = < <= !=; value is a relation
	kArith // + - * / % & | ^ << >>; value is an aluOp index
	kSlash // / is also the one between an address and the length of its mask

	// Qualifiers; values are a proto, a dir and a typ.
	kProto
	kSrc
	kDst
	kAddrN // addr1 … addr4, ra, ta
	kTyp   // host, net, port, portrange
	kGateway
	kProtoWord // proto, protochain

	// Primitives of their own.
	kMask
	kLess
	kGreater
	kByte
	kBroadcast
	kMulticast
	kLen
	kInOut // value 1: outbound
	kIfindex
	kEncap     // vlan, mpls, pppoed, pppoes, geneve
	kType      // 802.11 type
	kSubtype   //        subtype
	kDir       //        direction
	kLLC       // llc
	kPF        // ifname, ruleset, …
	kATM       // lane, metac, …: one circuit or type
	kATMField  // vpi, vci
	kMTP2      // fisu, …
	kMTP3Field // sio, opc, …
)

// token is one token: what it is, and where in the expression it stands.
type token struct {
	kind     kind
	val      uint8  // which of the words of its kind
	num      uint32 // kNum: the number
	pos, end int32  // expression[pos:end] is its text
}

// Values of kEncap.
const (
	encVLAN = iota
	encMPLS
	encPPPoED
	encPPPoES
	encGeneve
)

// Values of kPF, which are fields of pflog's header.
const (
	pfIfname = iota
	pfRuleset
	pfRulenum
	pfSubrulenum
	pfReason
	pfAction
)

// Values of kATM.
const (
	atmLANE = iota
	atmMetaC
	atmBCC
	atmOAMF4EC
	atmOAMF4SC
	atmSC
	atmILMIC
	atmOAM
	atmOAMF4
	atmConnectMsg
	atmMetaConnect
)

// Values of kATMField, and two fields no word names.
const (
	atmVPI = iota
	atmVCI
	atmProtoType
	atmMsgType
)

// Values of kMTP2: signal units, of low speed and high speed links.
const (
	mtpFISU = iota
	mtpLSSU
	mtpMSU
	mtpHFISU
	mtpHLSSU
	mtpHMSU
)

// Values of kMTP3Field; the high speed ones follow, in the same order.
const (
	mtpSIO = iota
	mtpOPC
	mtpDPC
	mtpSLS
	mtpHigh // added to one of them
)

// word is what a keyword means: a kind and its value.
type word struct {
	kind kind
	val  uint8
}

// keywords are the reserved words of pcap-filter(7).
var keywords = map[string]word{
	"dst": {kDst, 0}, "src": {kSrc, 0},

	"link": {kProto, uint8(protoLink)}, "ether": {kProto, uint8(protoLink)},
	"ppp": {kProto, uint8(protoLink)}, "slip": {kProto, uint8(protoLink)},
	"fddi": {kProto, uint8(protoLink)}, "tr": {kProto, uint8(protoLink)},
	"wlan": {kProto, uint8(protoLink)},
	"arp":  {kProto, uint8(protoARP)}, "rarp": {kProto, uint8(protoRARP)},
	"ip": {kProto, uint8(protoIP)}, "ip6": {kProto, uint8(protoIP6)},
	"sctp": {kProto, uint8(protoSCTP)}, "tcp": {kProto, uint8(protoTCP)},
	"udp": {kProto, uint8(protoUDP)}, "icmp": {kProto, uint8(protoICMP)},
	"igmp": {kProto, uint8(protoIGMP)}, "igrp": {kProto, uint8(protoIGRP)},
	"pim": {kProto, uint8(protoPIM)}, "vrrp": {kProto, uint8(protoVRRP)},
	"carp": {kProto, uint8(protoCARP)}, "radio": {kProto, uint8(protoRadio)},
	"icmp6": {kProto, uint8(protoICMP6)}, "ah": {kProto, uint8(protoAH)},
	"esp": {kProto, uint8(protoESP)}, "atalk": {kProto, uint8(protoAtalk)},
	"aarp": {kProto, uint8(protoAARP)}, "decnet": {kProto, uint8(protoDECnet)},
	"lat": {kProto, uint8(protoLAT)}, "sca": {kProto, uint8(protoSCA)},
	"moprc": {kProto, uint8(protoMOPRC)}, "mopdl": {kProto, uint8(protoMOPDL)},
	"iso": {kProto, uint8(protoISO)}, "esis": {kProto, uint8(protoESIS)},
	"es-is": {kProto, uint8(protoESIS)}, "isis": {kProto, uint8(protoISIS)},
	"is-is": {kProto, uint8(protoISIS)}, "l1": {kProto, uint8(protoL1)},
	"l2": {kProto, uint8(protoL2)}, "iih": {kProto, uint8(protoIIH)},
	"lsp": {kProto, uint8(protoLSP)}, "snp": {kProto, uint8(protoSNP)},
	"csnp": {kProto, uint8(protoCSNP)}, "psnp": {kProto, uint8(protoPSNP)},
	"clnp": {kProto, uint8(protoCLNP)}, "stp": {kProto, uint8(protoSTP)},
	"ipx": {kProto, uint8(protoIPX)}, "netbeui": {kProto, uint8(protoNetBEUI)},

	"host": {kTyp, uint8(typHost)}, "net": {kTyp, uint8(typNet)},
	"port": {kTyp, uint8(typPort)}, "portrange": {kTyp, uint8(typPortRange)},
	"mask": {kMask, 0}, "gateway": {kGateway, 0},
	"proto": {kProtoWord, uint8(typProto)}, "protochain": {kProtoWord, uint8(typProtoChain)},

	"type": {kType, 0}, "subtype": {kSubtype, 0}, "dir": {kDir, 0}, "direction": {kDir, 0},
	"addr1": {kAddrN, uint8(dirAddr1)}, "address1": {kAddrN, uint8(dirAddr1)},
	"addr2": {kAddrN, uint8(dirAddr2)}, "address2": {kAddrN, uint8(dirAddr2)},
	"addr3": {kAddrN, uint8(dirAddr3)}, "address3": {kAddrN, uint8(dirAddr3)},
	"addr4": {kAddrN, uint8(dirAddr4)}, "address4": {kAddrN, uint8(dirAddr4)},
	"ra": {kAddrN, uint8(dirRA)}, "ta": {kAddrN, uint8(dirTA)},

	"less": {kLess, 0}, "greater": {kGreater, 0}, "byte": {kByte, 0},
	"broadcast": {kBroadcast, 0}, "multicast": {kMulticast, 0},
	"and": {kAnd, 0}, "or": {kOr, 0}, "not": {kNot, 0},
	"len": {kLen, 0}, "length": {kLen, 0},
	"inbound": {kInOut, 0}, "outbound": {kInOut, 1}, "ifindex": {kIfindex, 0},

	"vlan": {kEncap, encVLAN}, "mpls": {kEncap, encMPLS}, "pppoed": {kEncap, encPPPoED},
	"pppoes": {kEncap, encPPPoES}, "geneve": {kEncap, encGeneve},

	"llc": {kLLC, 0}, "lane": {kATM, atmLANE}, "metac": {kATM, atmMetaC}, "bcc": {kATM, atmBCC},
	"oam": {kATM, atmOAM}, "oamf4": {kATM, atmOAMF4}, "oamf4ec": {kATM, atmOAMF4EC},
	"oamf4sc": {kATM, atmOAMF4SC}, "sc": {kATM, atmSC}, "ilmic": {kATM, atmILMIC},
	"connectmsg": {kATM, atmConnectMsg}, "metaconnect": {kATM, atmMetaConnect},
	"vpi": {kATMField, atmVPI}, "vci": {kATMField, atmVCI},

	"on": {kPF, pfIfname}, "ifname": {kPF, pfIfname}, "rset": {kPF, pfRuleset},
	"ruleset": {kPF, pfRuleset}, "rnr": {kPF, pfRulenum}, "rulenum": {kPF, pfRulenum},
	"srnr": {kPF, pfSubrulenum}, "subrulenum": {kPF, pfSubrulenum},
	"reason": {kPF, pfReason}, "action": {kPF, pfAction},

	"fisu": {kMTP2, mtpFISU}, "lssu": {kMTP2, mtpLSSU}, "lsu": {kMTP2, mtpLSSU},
	"msu": {kMTP2, mtpMSU}, "hfisu": {kMTP2, mtpHFISU}, "hlssu": {kMTP2, mtpHLSSU},
	"hmsu": {kMTP2, mtpHMSU},
	"sio":  {kMTP3Field, mtpSIO}, "opc": {kMTP3Field, mtpOPC}, "dpc": {kMTP3Field, mtpDPC},
	"sls": {kMTP3Field, mtpSLS}, "hsio": {kMTP3Field, mtpHigh + mtpSIO},
	"hopc": {kMTP3Field, mtpHigh + mtpOPC}, "hdpc": {kMTP3Field, mtpHigh + mtpDPC},
	"hsls": {kMTP3Field, mtpHigh + mtpSLS},
}

// constants are the words that stand for numbers: offsets of fields and what
// the fields may hold.
var constants = map[string]uint32{
	"icmptype": 0, "icmpcode": 1,
	"icmp-echoreply": 0, "icmp-unreach": 3, "icmp-sourcequench": 4,
	"icmp-redirect": 5, "icmp-echo": 8, "icmp-routeradvert": 9,
	"icmp-routersolicit": 10, "icmp-timxceed": 11, "icmp-paramprob": 12,
	"icmp-tstamp": 13, "icmp-tstampreply": 14, "icmp-ireq": 15,
	"icmp-ireqreply": 16, "icmp-maskreq": 17, "icmp-maskreply": 18,

	"icmp6type": 0, "icmp6code": 1,
	"icmp6-destinationunreach": 1, "icmp6-packettoobig": 2,
	"icmp6-timeexceeded": 3, "icmp6-parameterproblem": 4,
	"icmp6-echo": 128, "icmp6-echoreply": 129,
	"icmp6-multicastlistenerquery": 130, "icmp6-multicastlistenerreportv1": 131,
	"icmp6-multicastlistenerdone": 132, "icmp6-routersolicit": 133,
	"icmp6-routeradvert": 134, "icmp6-neighborsolicit": 135,
	"icmp6-neighboradvert": 136, "icmp6-redirect": 137,
	"icmp6-routerrenum": 138, "icmp6-nodeinformationquery": 139,
	"icmp6-nodeinformationresponse": 140, "icmp6-ineighbordiscoverysolicit": 141,
	"icmp6-ineighbordiscoveryadvert": 142, "icmp6-multicastlistenerreportv2": 143,
	"icmp6-homeagentdiscoveryrequest": 144, "icmp6-homeagentdiscoveryreply": 145,
	"icmp6-mobileprefixsolicit": 146, "icmp6-mobileprefixadvert": 147,
	"icmp6-certpathsolicit": 148, "icmp6-certpathadvert": 149,
	"icmp6-multicastrouteradvert": 151, "icmp6-multicastroutersolicit": 152,
	"icmp6-multicastrouterterm": 153,

	"tcpflags": 13, "tcp-fin": 0x01, "tcp-syn": 0x02, "tcp-rst": 0x04,
	"tcp-push": 0x08, "tcp-ack": 0x10, "tcp-urg": 0x20, "tcp-ece": 0x40,
	"tcp-cwr": 0x80,
}
