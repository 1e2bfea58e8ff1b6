package helpers

import (
	"encoding/binary"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/mem"
)

// syncookieFuncs answer SYNs without keeping state (net/ipv4/syncookies.c,
// net/ipv6/syncookies.c). The kernel's secret is random; skep's is fixed, so that
// runs repeat, and its cookies are of no use to a real TCP stack.
var syncookieFuncs = map[catalog.HelperID]Func{
	catalog.FnTcpRawGenSyncookieIpv4:   genSyncookie4,
	catalog.FnTcpRawGenSyncookieIpv6:   genSyncookie6,
	catalog.FnTcpRawCheckSyncookieIpv4: checkSyncookie4,
	catalog.FnTcpRawCheckSyncookieIpv6: checkSyncookie6,
}

// A cookie is a sequence number that hides the minute it was made in and an
// index into a table of segment sizes:
//
//	hash(flow) + the client's sequence number + minute << 24 + (hash(flow, minute) + index) mod 2²⁴
const (
	cookieBits   = 24
	cookieMask   = 1<<cookieBits - 1
	cookiePeriod = 60_000_000_000 // ns (TCP_SYNCOOKIE_PERIOD)
	maxCookieAge = 2              // periods (MAX_SYNCOOKIE_AGE)
)

// Segment sizes cookies can tell, for IPv4 and IPv6.
var (
	cookieMSS4 = [...]uint16{536, 1300, 1440, 1460}
	cookieMSS6 = [...]uint16{1280 - 60, 1480 - 60, 1500 - 60, 9000 - 60}
)

// defaultMSS4 is the segment size of a client that names none (TCP_MSS_DEFAULT).
const defaultMSS4 = 536

// tcpHeader is the length of a TCP header without options.
const tcpHeader = 20

// cookieHash is a keyed hash of a flow: its addresses and ports, then what
// distinguishes one use from another.
func cookieHash(addrs, ports []byte, count, use uint32) uint32 {
	h := uint64(0x5eed_c00c_1e5e_c2e7)
	mix := func(v uint32) {
		h = (h ^ uint64(v)) * 0x9e3779b97f4a7c15
		h ^= h >> 29
	}
	for i := 0; i < len(addrs); i += 4 {
		mix(binary.NativeEndian.Uint32(addrs[i:]))
	}
	mix(binary.NativeEndian.Uint32(ports))
	mix(count)
	mix(use)
	return uint32(h >> 32)
}

// minute is the current period.
func (e *Env) minute() uint32 { return uint32(e.Host.Monotonic() / cookiePeriod) }

func genSyncookie4(e *Env, ip, th, n, _, _ uint64) uint64 {
	return e.genSyncookie(mem.Bytes(ip+12, 8), th, uint32(n), defaultMSS4, cookieMSS4[:])
}

func genSyncookie6(e *Env, ip, th, n, _, _ uint64) uint64 {
	return e.genSyncookie(mem.Bytes(ip+8, 32), th, uint32(n), cookieMSS6[0], cookieMSS6[:])
}

// genSyncookie returns the cookie for a SYN in the low half, and above it the
// segment size it stands for.
func (e *Env) genSyncookie(addrs []byte, th uint64, n uint32, mss uint16, table []uint16) uint64 {
	if n < tcpHeader || n != uint32(mem.Load8(th+12)>>4)*4 {
		return errno.EINVAL.Ret()
	}
	tcp := mem.Bytes(th, int(n))
	if m := parseMSS(tcp[tcpHeader:]); m != 0 {
		mss = m
	}
	index := len(table) - 1
	for index > 0 && mss < table[index] {
		index--
	}
	minute := e.minute()
	cookie := cookieHash(addrs, tcp[:4], 0, 0) + binary.BigEndian.Uint32(tcp[4:]) + minute<<cookieBits +
		(cookieHash(addrs, tcp[:4], minute, 1)+uint32(index))&cookieMask
	return uint64(cookie) | uint64(table[index])<<32
}

func checkSyncookie4(e *Env, ip, th, _, _, _ uint64) uint64 {
	return e.checkSyncookie(mem.Bytes(ip+12, 8), mem.Bytes(th, tcpHeader), len(cookieMSS4))
}

func checkSyncookie6(e *Env, ip, th, _, _, _ uint64) uint64 {
	return e.checkSyncookie(mem.Bytes(ip+8, 32), mem.Bytes(th, tcpHeader), len(cookieMSS6))
}

// checkSyncookie reports whether an ACK answers a cookie not older than two minutes.
func (e *Env) checkSyncookie(addrs, tcp []byte, sizes int) uint64 {
	cookie := binary.BigEndian.Uint32(tcp[8:]) - 1
	seq := binary.BigEndian.Uint32(tcp[4:]) - 1
	cookie -= cookieHash(addrs, tcp[:4], 0, 0) + seq
	minute := e.minute()
	age := (minute - cookie>>cookieBits) & (1<<(32-cookieBits) - 1)
	if age >= maxCookieAge || (cookie-cookieHash(addrs, tcp[:4], minute-age, 1))&cookieMask >= uint32(sizes) {
		return errno.EACCES.Ret()
	}
	return 0
}

// parseMSS returns the segment size among TCP options, or 0 (tcp_parse_mss_option).
func parseMSS(options []byte) (mss uint16) {
	const end, nop, mssOption, mssLen = 0, 1, 2, 4
	for len(options) > 0 && options[0] != end {
		if options[0] == nop {
			options = options[1:]
			continue
		}
		if len(options) < 2 || options[1] < 2 || int(options[1]) > len(options) {
			break
		}
		if options[0] == mssOption && options[1] == mssLen {
			if m := binary.BigEndian.Uint16(options[2:]); m != 0 {
				mss = m
			}
		}
		options = options[options[1]:]
	}
	return mss
}
