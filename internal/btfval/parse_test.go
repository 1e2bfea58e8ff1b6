package btfval

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"
)

// TestRoundTrip parses what Format and JSON write.
func TestRoundTrip(t *testing.T) {
	for _, v := range values {
		data := bytesOf(t, v.data)
		got, err := Parse(v.typ, len(data), v.text, v.order)
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("%s: %s gives % x (%v), want % x", v.name, v.text, got, err, data)
		}
		// JSON has no network order and no names for wide numbers.
		if strings.Contains(v.name, "be") || v.name == "u128" || v.name == "bool out of range" || v.typ == flow || v.typ == bss {
			continue
		}
		got, err = Parse(v.typ, len(data), v.json, v.order)
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("%s: %s gives % x (%v), want % x", v.name, v.json, got, err, data)
		}
	}
}

func TestParse(t *testing.T) {
	for _, c := range []struct {
		typ  btf.Type
		text string
		want string
	}{
		{u32, "0x1f", "1f000000"},
		{u32, "0x0a 00 00 01", "0a000001"},
		{u32, "0b101", "05000000"},
		{u32, "-1", "ffffffff"},
		{u32, "10.0.0.1", "0a000001"},
		{be32, "10.0.0.1", "0a000001"},
		{be32, "1", "00000001"},
		{be16, "443", "01bb"},
		{u8, "'A'", "41"},
		{u8, `"0x0c"`, "0c"},
		{boolT, "true", "01"},
		{f64, "1.5", "000000000000f83f"},
		{ptr, "0xffff880000001000", "001000000088ffff"},
		{u128, "0x000102030405060708090a0b0c0d0e0f", "000102030405060708090a0b0c0d0e0f"},
		{state, "S_BAD", "ffffffff"},
		{state, "-1", "ffffffff"},
		{counter, "{1,2}", "01000000000000000200000000000000"},
		{counter, "{ .bytes = 2 }", "00000000000000000200000000000000"},
		{counter, "{ bytes: 2, packets: 1 }", "01000000000000000200000000000000"},
		{counter, `{"packets": 1, "bytes": 2}`, "01000000000000000200000000000000"},
		{counter, "{ .bytes = 2, }", "00000000000000000200000000000000"},
		{counters, "{ {1}, { .bytes = 3 }, ... }", "01000000000000000000000000000000 00000000000000000300000000000000 00000000000000000000000000000000"},
		{flags, "{ .delta = -1, .kind = S_OPEN, .version = 4 }", "f4030000"},
		{flow, "{ .addr = 10.0.0.1, .mac = 02:00:5e:10:00:01, .dev = \"lo\" }", "0a000001 0000 6c6f000000000000 02005e100001 00 000000"},
		{flow, "{ 10.0.0.1, 80 }", "0a000001 0050 0000000000000000 000000000000 00 000000"},
		{mac, "02:00:5e:10:00:01", "02005e100001"},
		{mac, "[2, 0, 94, 16, 0, 1]", "02005e100001"},
		{mac, `["0x02","0x00","0x5e","0x10","0x00","0x01"]`, "02005e100001"},
		{mac, "0x02005e100001", "02005e100001"},
		{in6, "2001:db8::1", "20010db8000000000000000000000001"},
		{words, "2001:db8::1", "20010db8000000000000000000000001"},
		{lpm4, "10.1.0.0/16", "10000000 0a010000"},
		{lpm4, "10.1.0.7", "20000000 0a010007"},
		{lpm4, "{ .prefixlen = 8, .addr = 10.0.0.0 }", "08000000 0a000000"},
		{lpm6, "2001:db8::/32", "20000000 20010db8000000000000000000000000"},
		{name8, `"eth0"`, "6574683000000000"},
		{name8, `"exactly8"`, "65786163746c7938"},
		{nil, "10.0.0.1", "0a000001"},
		{nil, "7", "07000000"},
		{bss, "{ .hits = 9, .mode = S_OPEN }", "0900000000000000 01000000"},
	} {
		want := bytesOf(t, c.want)
		got, err := Parse(c.typ, len(want), c.text, le)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s gives %s (%v), want %s", c.text, hex.EncodeToString(got), err, c.want)
		}
	}
}

// TestParseErrors: each error names the spot.
func TestParseErrors(t *testing.T) {
	for _, c := range []struct {
		typ  btf.Type
		text string
		want string
	}{
		{u32, "", `at the end of "": a value is missing`},
		{u32, "x", `at column 1, "x": not a number`},
		{u32, "1 2", `at column 3, "2": unexpected`},
		{u8, "256", `at column 1, "256": does not fit 8 bits`},
		{u8, "-129", `at column 1, "-129": does not fit 8 bits`},
		{u32, "10.0.0.300", `at column 1, "10.0.0.300": neither a number nor an address of 4 bytes`},
		{state, "S_CLOSED", `at column 1, "S_CLOSED": neither a number nor one of S_NEW, S_OPEN, S_BAD`},
		{counter, "{ .packets = 1, .octets = 2 }", `at column 17, ".octets = 2 }": no member "octets", only packets, bytes`},
		{counter, "{ 1, 2, 3 }", `at column 9, "3 }": there are only 2 members`},
		{counter, "{ 1 2 }", `at column 5, "2 }": expected , or }`},
		{counter, "{ 1", `at the end of "{ 1": expected , or }`},
		{counter, "7", `at column 1, "7": struct counter wants { … }`},
		{words, "{ 1, 2, 3, 4, 5 }", `at column 15, "5 }": there are only 4 elements`},
		{name8, `"much too long"`, `at column 1, "\"much too long\"": 13 bytes do not fit 8`},
		{name8, `"open`, `at column 1, "\"open": string without end`},
		{flags, "{ .version = 16 }", `at column 14, "16 }": does not fit 4 bits`},
		{lpm4, "2001:db8::/32", `at column 1, "2001:db8::/32": struct lpm4 wants { … }`},
	} {
		n, _ := sizeOf(c.typ)
		_, err := Parse(c.typ, n, c.text, le)
		var pe *ParseError
		if !errors.As(err, &pe) || !errors.Is(err, ErrSyntax) {
			t.Errorf("%q: error %v", c.text, err)
			continue
		}
		if got := strings.TrimPrefix(err.Error(), "cannot read value: "); got != c.want {
			t.Errorf("%q:\n got %s\nwant %s", c.text, got, c.want)
		}
	}
}

// fuzzTypes are indexed by the fuzzer.
var fuzzTypes = []btf.Type{
	u8, u32, u64, u128, boolT, f64, ptr, be16, be32, name8, mac, words, state, counter, flags, in6, flow, lpm4, lpm6, counters, bss,
}

// FuzzParse: no text panics, and what Parse made of a text, Format writes so
// that Parse makes the same of it.
func FuzzParse(f *testing.F) {
	for _, v := range values {
		for i, t := range fuzzTypes {
			if t == v.typ {
				f.Add(byte(i), v.text)
				f.Add(byte(i), v.json)
			}
		}
	}
	f.Add(byte(17), "10.0.0.0/8")
	f.Fuzz(func(t *testing.T, i byte, text string) {
		typ := fuzzTypes[int(i)%len(fuzzTypes)]
		n, _ := sizeOf(typ)
		data, err := Parse(typ, n, text, le)
		if err != nil {
			return
		}
		if typ == f64 { // a NaN keeps no payload
			return
		}
		shown := Format(typ, data, le)
		again, err := Parse(typ, n, shown, le)
		if err != nil || Format(typ, again, le) != shown {
			t.Fatalf("%q is % x, shown as %s, which is % x (%v)", text, data, shown, again, err)
		}
	})
}

// TestCName: errors name types as C does.
func TestCName(t *testing.T) {
	u32 := &btf.Int{Name: "unsigned int", Size: 4}
	for _, c := range []struct {
		t    btf.Type
		want string
	}{
		{u32, "unsigned int"},
		{&btf.Typedef{Name: "__u32", Type: u32}, "__u32"},
		{&btf.Const{Type: &btf.Struct{Name: "key"}}, "struct key"},
		{&btf.Union{}, "union { … }"},
		{&btf.Enum{Name: "state", Size: 4}, "enum state"},
		{&btf.Array{Type: u32, Nelems: 4}, "unsigned int[4]"},
		{&btf.Pointer{Target: u32}, "a pointer"},
		{&btf.Datasec{Name: ".data"}, "section .data"},
	} {
		if got := cName(c.t); got != c.want {
			t.Errorf("%v: %s, want %s", c.t, got, c.want)
		}
	}
}
