package pcap

import "net/netip"

// A primitive's qualifiers say how to take the identifier that follows them:
//
//	tcp   src   port   80
//	proto dir   typ    identifier
//
// Qualifiers that are left out are taken from the primitive before, as in
// "tcp src port 80 or 443".
type quals struct {
	proto proto
	dir   dir
	typ   typ
}

// noQuals are the qualifiers after a primitive that has none to hand on.
var noQuals = quals{protoUndef, dirUndef, typUndef}

// dir is the direction qualifier.
type dir uint8

const (
	dirDefault dir = iota
	dirSrc
	dirDst
	dirOr  // src or dst
	dirAnd // src and dst
	dirAddr1
	dirAddr2
	dirAddr3
	dirAddr4
	dirRA
	dirTA
	dirUndef dir = 255
)

// typ is the type qualifier: what the identifier is the name of.
type typ uint8

const (
	typDefault typ = iota
	typHost
	typNet
	typPort
	typGateway
	typProto
	typProtoChain
	typPortRange
	typUndef typ = 255
)

// relation is what a comparison asks.
type relation uint8

const (
	relGT relation = iota
	relGE
	relEQ
	relLE
	relLT
	relNE
)

// arithOp is an operator of arithmetic.
type arithOp uint8

const (
	opAdd arithOp = iota
	opSub
	opMul
	opDiv
	opMod
	opAnd
	opOr
	opXor
	opLsh
	opRsh
	opNeg
)

// node is a node of the syntax tree. Which fields a node uses, its kind says.
type node struct {
	kind      nodeKind
	val       uint8 // which of its kind: a proto, relation, arithOp, field, …
	has       bool  // the optional number is there
	quals     quals // nID
	pos, end  int32 // expression[pos:end] is its text, without its operands
	num, num2 uint32
	text      string // nID, nPF: as written
	mask      string // nID: after "mask"
	l, r      *node
	target    *target // of an identifier, once checked
}

type nodeKind uint8

const (
	nAnd nodeKind = iota // l and r
	nOr                  // l or r
	nNot                 // not l

	nName     // quals, text: an identifier
	nNumber   // quals, num
	nAddr4    // quals, text
	nNet4     // quals, text/num
	nNetMask4 // quals, text mask mask
	nAddr6    // quals, text
	nNet6     // quals, text/num
	nMAC      // quals, text
	nARC      // quals, text

	nProto     // val: a protocol, alone
	nRel       // l val r: a comparison
	nBroadcast // val: proto
	nMulticast // val: proto
	nLess      // num
	nGreater   // num
	nByte      // byte num val num2; val is one of the byteOps
	nInOut     // val: 1 for outbound
	nIfindex   // num
	nEncap     // val: which, has num
	nPF        // val: field, num or text
	nWlanType  // num under mask num2 in the first byte of frame control
	nWlanDir   // num
	nLLC       // val: one of the llcForms, num
	nATM       // val
	nATMField  // val, num, num2: relation
	nMTP2      // val
	nMTP3      // val, num, num2: relation

	nConst // num
	nLoad  // val: proto, l: offset, num: size
	nArith // l val r; r is nil for opNeg
	nLen
)

// Values of nByte.
const (
	byteEQ = iota
	byteLT
	byteGT
	byteAnd
	byteOr
)

// Values of nLLC.
const (
	llcAny = iota
	llcI
	llcS
	llcU
	llcSub  // S subtype num
	llcUSub // U subtype num
)

// target is what an identifier turned out to mean.
type target struct {
	kind      targetKind
	lo, hi    uint32 // ports, or a protocol's number in lo
	transport int32  // ports: tcp, udp or sctp, or anyTransport
	addr4     uint32
	mask4     uint32
	addr6     netip.Addr
	mask6     [4]uint32
	addrs     []netip.Addr // tHostName
	mac       [6]byte
	found     bool // tMACName: there is such a name
}

type targetKind uint8

const (
	tNone       targetKind = iota
	tHost4                 // addr4 under mask4
	tHost6                 // addr6 under mask6
	tHostName              // any of addrs
	tDECnet                // addr4
	tMAC                   // mac
	tMACName               // mac, if found
	tARC                   // mac[0]
	tPort                  // lo
	tPortRange             // lo to hi
	tProto                 // lo
	tProtoChain            // lo
)

// anyTransport stands for tcp, udp and sctp.
const anyTransport = -1
