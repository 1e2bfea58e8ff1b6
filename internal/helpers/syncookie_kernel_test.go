package helpers

import (
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/mem"
)

// syn is a TCP header with options, to be put behind an IP header.
func syn(options []byte) []byte {
	h := tcp(nil)
	h[12] = byte(5+len(options)/4) << 4
	return append(h, options...)
}

// The segment size a cookie stands for is the kernel's; the cookie is not.
func TestSyncookieMSS(t *testing.T) {
	var scripts []script
	sized := func(s step) step { s.mask = 0xffffffff00000000; return s }
	mss := func(v uint16) []byte { return []byte{2, 4, byte(v >> 8), byte(v)} }
	for name, options := range map[string][]byte{
		"none": nil, "536": mss(536), "100": mss(100), "1300": mss(1300), "1439": mss(1439), "1440": mss(1440), "1460": mss(1460), "9000": mss(9000), "0": mss(0),
		"behind nops": append([]byte{1, 1, 1, 1}, mss(1400)...), "behind the end": append([]byte{0, 0, 0, 0}, mss(1400)...),
		"cut": {8, 10, 0, 0}, "of length 1": {2, 1, 0, 0}, "behind another": append([]byte{3, 3, 7, 1}, mss(1450)...), "two": append(mss(600), mss(1460)...),
		"wrong length": {2, 3, 5, 1}, "last byte": {1, 1, 1, 2},
	} {
		h := syn(options)
		d := make([]byte, 200)
		copy(d, tcp4[14:34])
		copy(d[40:], udp6[14:54])
		copy(d[100:], h)
		n := uint64(len(h))
		scripts = append(scripts, script{name: "option " + name, prog: xdp, pkt: tcp4, data: d, steps: []step{
			sized(call(catalog.FnTcpRawGenSyncookieIpv4, data(0), data(100), imm(n))),
			sized(call(catalog.FnTcpRawGenSyncookieIpv6, data(40), data(100), imm(n))),
			sized(call(catalog.FnTcpRawGenSyncookieIpv4, data(0), data(100), imm(n+4))),
			call(catalog.FnTcpRawCheckSyncookieIpv4, data(0), data(100)),
			call(catalog.FnTcpRawCheckSyncookieIpv6, data(40), data(100)),
		}})
	}
	runScripts(t, scripts)
}

// A cookie is good for two minutes, for its flow, and for the next sequence number.
func TestSyncookieRoundTrip(t *testing.T) {
	e, h := env(t)
	b := newScratch(t, 256)
	ip, th := b.Addr(), b.Addr()+64
	for _, v := range []struct {
		header     []byte
		gen, check catalog.HelperID
	}{
		{tcp4[14:34], catalog.FnTcpRawGenSyncookieIpv4, catalog.FnTcpRawCheckSyncookieIpv4},
		{udp6[14:54], catalog.FnTcpRawGenSyncookieIpv6, catalog.FnTcpRawCheckSyncookieIpv6},
	} {
		copy(b.Bytes(), v.header)
		copy(b.Bytes()[64:], syn([]byte{2, 4, 5, 0xb4}))
		h.offset = 0
		cookie := e.do(v.gen, ip, th, 24)
		tcp := mem.Bytes(th, 24)
		binary.BigEndian.PutUint32(tcp[4:], binary.BigEndian.Uint32(tcp[4:])+1)
		binary.BigEndian.PutUint32(tcp[8:], uint32(cookie)+1)
		want(t, "check", e.do(v.check, ip, th), 0)
		for what, change := range map[string]func() func(){
			"a minute later":      func() func() { h.offset = cookiePeriod; return func() { h.offset = 0 } },
			"another port":        flip(tcp, 1),
			"another address":     flip(b.Bytes(), 15),
			"another sequence":    flip(tcp, 5), // a number near by only tells of another segment size
			"another cookie":      flip(tcp, 10),
			"three minutes later": func() func() { h.offset = 3 * cookiePeriod; return func() { h.offset = 0 } },
		} {
			undo := change()
			verdict := errno.EACCES.Ret()
			if what == "a minute later" {
				verdict = 0
			}
			want(t, fmt.Sprintf("check %s", what), e.do(v.check, ip, th), verdict)
			undo()
		}
	}
}

// flip changes a byte and gives back how to undo that.
func flip(b []byte, at int) func() func() {
	return func() func() {
		b[at] ^= 1
		return func() { b[at] ^= 1 }
	}
}
