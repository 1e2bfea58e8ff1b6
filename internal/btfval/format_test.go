package btfval

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"
)

// bytesOf reads hexadecimal bytes with spaces between them.
func bytesOf(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// values are bytes of a type, the text they have, and the JSON.
var values = []struct {
	name  string
	typ   btf.Type
	order binary.ByteOrder
	data  string
	text  string
	json  string
}{
	{"u32", u32, le, "0c000000", "12", "12"},
	{"u32 big endian", u32, be, "0000000c", "12", "12"},
	{"s32", s32, le, "fdffffff", "-3", "-3"},
	{"u64 max", u64, le, "ffffffffffffffff", "18446744073709551615", "18446744073709551615"},
	{"u128", u128, le, "00010000000000000000000000000000", "0x00 01 00 00 00 00 00 00 00 00 00 00 00 00 00 00", `"0x100"`},
	{"bool", boolT, le, "01", "true", "true"},
	{"bool out of range", boolT, le, "07", "7", "true"},
	{"double", f64, le, "000000000000f83f", "1.5", "1.5"},
	{"pointer", ptr, le, "00100000 0088ffff", "0xffff880000001000", "18446612132314222592"},
	{"be16", be16, le, "01bb", "443", "47873"},
	{"be32", be32, le, "0a000001", "10.0.0.1", "16777226"},
	{"enum", state, le, "01000000", "S_OPEN", `"S_OPEN"`},
	{"enum negative", state, le, "ffffffff", "S_BAD", `"S_BAD"`},
	{"enum unknown", state, le, "feffffff", "-2", "-2"},
	{"struct", counter, le, "0100000000000000 3c00000000000000", "{ .packets = 1, .bytes = 60 }", `{"packets":1,"bytes":60}`},
	{"bit fields", flags, le, "f4030000", "{ .version = 4, .delta = -1, .kind = S_OPEN }", `{"version":4,"delta":-1,"kind":"S_OPEN"}`},
	{"bit fields big endian", flags, be, "4f900000", "{ .version = 4, .delta = -1, .kind = S_OPEN }", `{"version":4,"delta":-1,"kind":"S_OPEN"}`},
	{"anonymous union, text, mac", flow, le, "0a000001 01bb 6574683000000000 02005e100001 01 000000",
		`{ .addr = 10.0.0.1, .id = 16777226, .port = 443, .dev = "eth0", .mac = 0x02 00 5e 10 00 01, .up = true }`,
		`{"addr":16777226,"id":16777226,"port":47873,"dev":"eth0","mac":[2,0,94,16,0,1],"up":true}`},
	{"in6_addr", in6, le, "20010db8000000000000000000000001", "2001:db8::1", `{"in6_u":{"u6_addr8":[32,1,13,184,0,0,0,0,0,0,0,0,0,0,0,1]}}`},
	{"array with zero tail", words, le, "01000000 02000000 00000000 00000000", "{ 1, 2, ... }", "[1,2,0,0]"},
	{"array of zeros", words, le, strings.Repeat("00", 16), "{ 0, ... }", "[0,0,0,0]"},
	{"full array", words, le, "01000000 02000000 03000000 04000000", "{ 1, 2, 3, 4 }", "[1,2,3,4]"},
	{"unprintable text", name8, le, "6574680a00000000", "0x65 74 68 0a 00 00 00 00", "[101,116,104,10,0,0,0,0]"},
	{"empty text", name8, le, "0000000000000000", `""`, `""`},
	{"data section", bss, le, "0500000000000000 01000000", "{ .hits = 5, .mode = S_OPEN }", `{".bss":[{"hits":5},{"mode":"S_OPEN"}]}`},
}

func TestFormat(t *testing.T) {
	for _, v := range values {
		data := bytesOf(t, v.data)
		if got := Format(v.typ, data, v.order); got != v.text {
			t.Errorf("%s: Format\n got %s\nwant %s", v.name, got, v.text)
		}
		got := JSON(v.typ, data, v.order)
		if string(got) != v.json {
			t.Errorf("%s: JSON\n got %s\nwant %s", v.name, got, v.json)
		}
		if !json.Valid(got) {
			t.Errorf("%s: not JSON: %s", v.name, got)
		}
	}
}

// TestFormatUntyped: bytes without a type, or too few for it, are shown as bytes.
func TestFormatUntyped(t *testing.T) {
	data := []byte{0x0c, 0, 0xff}
	if got := Format(nil, data, le); got != "0c 00 ff" {
		t.Errorf("without type: %q", got)
	}
	if got := Format(u32, data, le); got != "0c 00 ff" {
		t.Errorf("cut off: %q", got)
	}
	if got := string(JSON(nil, data, le)); got != `["0x0c","0x00","0xff"]` {
		t.Errorf("JSON: %s", got)
	}
}

func TestPerCPU(t *testing.T) {
	data := bytesOf(t, "01000000 00000000 02000000 00000000")
	if got := FormatPerCPU(u32, 4, data, le); got != "{ cpu0 = 1, cpu1 = 2 }" {
		t.Error(got)
	}
	if got := string(JSONPerCPU(u32, 4, data, le)); got != `[{"cpu":0,"value":1},{"cpu":1,"value":2}]` {
		t.Error(got)
	}
}

// TestHostileTypes: types that contain themselves, or have members beyond their
// end, end somewhere.
func TestHostileTypes(t *testing.T) {
	self := &btf.Struct{Name: "self", Size: 4}
	self.Members = []btf.Member{{Name: "a", Type: self}, {Name: "", Type: self}, {Name: "b", Type: self}}
	outside := &btf.Struct{Name: "outside", Size: 4, Members: []btf.Member{
		{Name: "far", Type: u32, Offset: 1 << 31}, {Name: "bits", Type: u32, Offset: 30, BitfieldSize: 4},
	}}
	empty := &btf.Array{Index: u32, Type: &btf.Struct{Name: "none"}, Nelems: 1<<32 - 1}
	for _, typ := range []btf.Type{self, outside, empty} {
		Format(typ, make([]byte, 4), le)
		JSON(typ, make([]byte, 4), le)
	}
	if got := Format(outside, make([]byte, 4), le); got != "{ .far = ?, .bits = ? }" {
		t.Error(got)
	}
}
