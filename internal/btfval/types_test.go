package btfval

import (
	"encoding/binary"

	"github.com/cilium/ebpf/btf"
)

// Types as C programs declare them.
var (
	u8     = &btf.Int{Name: "unsigned char", Size: 1}
	char   = &btf.Int{Name: "char", Size: 1, Encoding: btf.Signed}
	u16    = &btf.Int{Name: "unsigned short", Size: 2}
	s32    = &btf.Int{Name: "int", Size: 4, Encoding: btf.Signed}
	u32    = &btf.Int{Name: "unsigned int", Size: 4}
	u64    = &btf.Int{Name: "unsigned long", Size: 8}
	u128   = &btf.Int{Name: "unsigned __int128", Size: 16}
	boolT  = &btf.Int{Name: "_Bool", Size: 1, Encoding: btf.Bool}
	f64    = &btf.Float{Name: "double", Size: 8}
	ptr    = &btf.Pointer{Target: u8}
	be16   = &btf.Typedef{Name: "__be16", Type: u16}
	be32   = &btf.Const{Type: &btf.Typedef{Name: "__be32", Type: u32}}
	name8  = &btf.Array{Index: u32, Type: char, Nelems: 8}
	mac    = &btf.Array{Index: u32, Type: u8, Nelems: 6}
	words  = &btf.Array{Index: u32, Type: u32, Nelems: 4}
	addr16 = &btf.Array{Index: u32, Type: u8, Nelems: 16}

	state = &btf.Enum{Name: "state", Size: 4, Signed: true, Values: []btf.EnumValue{
		{Name: "S_NEW", Value: 0}, {Name: "S_OPEN", Value: 1}, {Name: "S_BAD", Value: ^uint64(0)},
	}}
	counter = &btf.Struct{Name: "counter", Size: 16, Members: []btf.Member{
		{Name: "packets", Type: u64}, {Name: "bytes", Type: u64, Offset: 64},
	}}
	flags = &btf.Struct{Name: "flags", Size: 4, Members: []btf.Member{
		{Name: "version", Type: u32, BitfieldSize: 4}, {Name: "delta", Type: s32, Offset: 4, BitfieldSize: 5},
		{Name: "kind", Type: state, Offset: 9, BitfieldSize: 3},
	}}
	in6 = &btf.Struct{Name: "in6_addr", Size: 16, Members: []btf.Member{
		{Name: "in6_u", Type: &btf.Union{Size: 16, Members: []btf.Member{{Name: "u6_addr8", Type: addr16}}}},
	}}
	flow = &btf.Struct{Name: "flow", Size: 24, Members: []btf.Member{
		{Name: "", Type: &btf.Union{Size: 4, Members: []btf.Member{{Name: "addr", Type: be32}, {Name: "id", Type: u32}}}},
		{Name: "port", Type: be16, Offset: 32},
		{Name: "dev", Type: name8, Offset: 48},
		{Name: "mac", Type: mac, Offset: 112},
		{Name: "up", Type: boolT, Offset: 160},
	}}
	lpm4 = &btf.Struct{Name: "lpm4", Size: 8, Members: []btf.Member{
		{Name: "prefixlen", Type: u32}, {Name: "addr", Type: u32, Offset: 32},
	}}
	lpm6 = &btf.Struct{Name: "lpm6", Size: 20, Members: []btf.Member{
		{Name: "prefixlen", Type: u32}, {Name: "addr", Type: addr16, Offset: 32},
	}}
	counters = &btf.Array{Index: u32, Type: counter, Nelems: 3}
	bss      = &btf.Datasec{Name: ".bss", Size: 12, Vars: []btf.VarSecinfo{
		{Type: &btf.Var{Name: "hits", Type: u64}, Size: 8},
		{Type: &btf.Var{Name: "mode", Type: state}, Offset: 8, Size: 4},
	}}
)

var (
	le = binary.ByteOrder(binary.LittleEndian)
	be = binary.ByteOrder(binary.BigEndian)
)
