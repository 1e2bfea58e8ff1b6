package btfval

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"math"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/cilium/ebpf/btf"
)

// scalar reads a value that is one word. A struct or union takes it too where
// it is clear what it is meant for.
func (p *parser) scalar(t btf.Type, word string, out []byte, depth int) error {
	if p.left--; p.left < 0 || depth > maxDepth {
		return p.fail("nested too deep")
	}
	under := btf.UnderlyingType(t)
	if p.address(under, word, out) {
		return nil
	}
	if addr, _, ok := strings.Cut(word, "/"); ok && strings.ContainsAny(addr, ".:") {
		if _, err := netip.ParsePrefix(word); err != nil { // of any type it is none
			return p.fail("it is no prefix, as 10.0.0.0/8 and fe80::/64 are")
		}
	}
	switch u := under.(type) {
	case *btf.Int, *btf.Enum, *btf.Pointer:
		return p.number(t, word, out)
	case *btf.Float:
		return p.float(word, out)
	case *btf.Array:
		if raw, ok := rawBytes(word, len(out)); ok && (isByte(u.Type) || isChar(u.Type)) {
			copy(out, raw)
			return nil
		}
		return p.fail("%s wants { … }", cName(t))
	case *btf.Struct:
		if len(u.Members) == 1 && u.Members[0].BitfieldSize == 0 {
			if part, ok := slice(u.Members[0], out); ok {
				return p.scalar(u.Members[0].Type, word, part, depth+1)
			}
		}
	case *btf.Union:
		// The first member that takes it, as C initialises the first.
		var first error
		for _, m := range u.Members {
			part, ok := slice(m, out)
			if !ok || m.BitfieldSize > 0 {
				continue
			}
			err := p.scalar(m.Type, word, part, depth+1)
			if err == nil {
				return nil
			}
			if first == nil {
				first = err
			}
		}
		if first != nil {
			return first
		}
	}
	return p.fail("%s wants { … }", cName(t))
}

// number reads an integer, enum or pointer of len(out) bytes.
func (p *parser) number(t btf.Type, word string, out []byte) error {
	if len(out) > 8 || len(out) == 0 {
		raw, ok := rawBytes(word, len(out))
		if !ok {
			return p.fail("%s wants %d bytes in hexadecimal", cName(t), len(out))
		}
		copy(out, raw)
		return nil
	}
	n, err := p.integer(t, word, 8*len(out))
	if err != nil {
		return err
	}
	if network(t) {
		writeUint(out, binary.BigEndian, n)
	} else {
		writeUint(out, p.order, n)
	}
	return nil
}

// integer reads a number of so many bits: decimal, hexadecimal, octal, binary,
// a character, a truth value or the name of an enum's value.
func (p *parser) integer(t btf.Type, word string, bits int) (uint64, error) {
	under := btf.UnderlyingType(t)
	if e, ok := under.(*btf.Enum); ok {
		for _, v := range e.Values {
			if v.Name == word {
				return v.Value, nil
			}
		}
	}
	switch {
	case word == "true":
		return 1, nil
	case word == "false":
		return 0, nil
	case len(word) == 3 && word[0] == '\'' && word[2] == '\'':
		return uint64(word[1]), nil
	}
	if n, err := strconv.ParseUint(word, 0, 64); err == nil {
		if bits < 64 && n>>bits != 0 {
			return 0, p.fail("does not fit %d bits", bits)
		}
		return n, nil
	}
	n, err := strconv.ParseInt(word, 0, 64)
	if err == nil && n < 0 {
		if bits < 64 && n < math.MinInt64>>(64-bits) {
			return 0, p.fail("does not fit %d bits", bits)
		}
		return uint64(n), nil
	}
	if e, ok := under.(*btf.Enum); ok {
		return 0, p.fail("neither a number nor one of %s", valueNames(e))
	}
	if strings.ContainsAny(word, ".:/") {
		return 0, p.fail("neither a number nor an address of %d bytes", bits/8)
	}
	return 0, p.fail("not a number")
}

func valueNames(e *btf.Enum) string {
	var all []string
	for i, v := range e.Values {
		if i == 12 {
			all = append(all, "…")
			break
		}
		all = append(all, v.Name)
	}
	return strings.Join(all, ", ")
}

func (p *parser) float(word string, out []byte) error {
	bits := 8 * len(out)
	f, err := strconv.ParseFloat(word, bits)
	if err != nil || bits != 32 && bits != 64 {
		return p.fail("not a number of %d bits", bits)
	}
	if bits == 32 {
		writeUint(out, p.order, uint64(math.Float32bits(float32(f))))
	} else {
		writeUint(out, p.order, math.Float64bits(f))
	}
	return nil
}

// rawBytes reads 0x and exactly n bytes without spaces between them.
func rawBytes(word string, n int) ([]byte, bool) {
	digits, ok := strings.CutPrefix(word, "0x")
	if !ok || len(digits) != 2*n {
		return nil, false
	}
	b, err := hex.DecodeString(digits)
	return b, err == nil
}

// address reads IPv4, IPv6 and Ethernet addresses, and prefixes for LPM tries.
func (p *parser) address(t btf.Type, word string, out []byte) bool {
	if strings.IndexByte(word, '/') > 0 {
		prefix, err := netip.ParsePrefix(word)
		return err == nil && p.prefix(t, prefix, out)
	}
	if !strings.ContainsAny(word, ".:") || !takesAddress(t) {
		return false
	}
	if addr, err := netip.ParseAddr(word); err == nil && addr.Zone() == "" {
		raw := addr.AsSlice()
		if len(raw) == len(out) {
			copy(out, raw)
			return true
		}
		return p.prefix(t, netip.PrefixFrom(addr, addr.BitLen()), out)
	}
	mac, err := net.ParseMAC(word)
	if err != nil || len(mac) != len(out) {
		return false
	}
	copy(out, mac)
	return true
}

// takesAddress keeps 1.5 a number where the type is a floating-point one.
func takesAddress(t btf.Type) bool {
	_, isFloat := t.(*btf.Float)
	return !isFloat
}

// prefix fills the key of an LPM trie: a 32-bit prefix length, then the address
// in network order (struct bpf_lpm_trie_key).
func (p *parser) prefix(t btf.Type, prefix netip.Prefix, out []byte) bool {
	s, ok := t.(*btf.Struct)
	raw := prefix.Addr().AsSlice()
	if !ok || len(out) != 4+len(raw) || len(s.Members) < 2 {
		return false
	}
	first := s.Members[0]
	if n, ok := sizeOf(first.Type); !ok || n != 4 || first.BitfieldSize > 0 {
		return false
	}
	var key bytes.Buffer
	key.Write(make([]byte, 4))
	key.Write(raw)
	writeUint(key.Bytes()[:4], p.order, uint64(prefix.Bits()))
	copy(out, key.Bytes())
	return true
}
