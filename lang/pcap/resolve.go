package pcap

import (
	"bufio"
	_ "embed"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
)

// Resolver knows names. Its methods report false, or an error, for a name they
// do not know.
type Resolver interface {
	// Host returns the addresses of a host.
	Host(name string) ([]netip.Addr, error)
	// Net returns the number of a network, as /etc/networks has it.
	Net(name string) (uint32, bool)
	// Port returns the port of a service over a transport, tcp or udp.
	Port(name, transport string) (uint16, bool)
	// Proto returns the number of a protocol over IP.
	Proto(name string) (uint8, bool)
	// Ether returns the Ethernet address of a host, as /etc/ethers has it.
	Ether(name string) (mac [6]byte, ok bool)
}

// System is the resolver that is used by default: the system's for hosts, and
// for the others its files, backed by tables that are part of the program.
type System struct{}

// Host implements Resolver by the system's resolver. Like the C library's it
// takes a number, or several with dots between them, for an address.
func (System) Host(name string) ([]netip.Addr, error) {
	if a, ok := parseNumeric(name); ok {
		return []netip.Addr{a}, nil
	}
	ips, err := net.LookupIP(name)
	if err != nil {
		return nil, err
	}
	var addrs []netip.Addr
	for _, ip := range ips {
		if a, ok := netip.AddrFromSlice(ip); ok {
			addrs = append(addrs, a.Unmap())
		}
	}
	return addrs, nil
}

// parseNumeric reads an IPv4 address as inet_aton(3) does: of one to four
// numbers, decimal, octal (0…) or hexadecimal (0x…), the last one fills the
// bytes that are left.
func parseNumeric(s string) (netip.Addr, bool) {
	parts := strings.Split(s, ".")
	if len(parts) > 4 {
		return netip.Addr{}, false
	}
	var v uint64
	for i, part := range parts {
		left := 8 * (4 - i) // bits, this part's included
		limit := uint64(0xff)
		if i == len(parts)-1 {
			limit = 1<<left - 1
		}
		n, err := strconv.ParseUint(part, 0, 32)
		goOnly := strings.Contains(part, "_") || len(part) > 1 && strings.ContainsAny(part[1:2], "bBoO")
		if err != nil || n > limit || goOnly {
			return netip.Addr{}, false
		}
		if i == len(parts)-1 {
			v |= n
		} else {
			v |= n << (left - 8)
		}
	}
	return netip.AddrFrom4([4]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)}), true
}

// Net implements Resolver by /etc/networks.
func (System) Net(name string) (uint32, bool) {
	for _, f := range database("/etc/networks", "")[name] {
		if v, bits, ok := parseAddr4(f); ok {
			return v << (32 - bits), true
		}
	}
	return 0, false
}

// Port implements Resolver by /etc/services and a table of well-known ports.
func (System) Port(name, transport string) (uint16, bool) {
	for _, f := range database("/etc/services", services)[name] {
		if port, over, _ := strings.Cut(f, "/"); over == transport {
			v, err := strconv.ParseUint(port, 10, 16)
			return uint16(v), err == nil
		}
	}
	return 0, false
}

// Proto implements Resolver by /etc/protocols and a table of its own.
func (System) Proto(name string) (uint8, bool) {
	for _, f := range database("/etc/protocols", protocolNumbers)[name] {
		v, err := strconv.ParseUint(f, 10, 8)
		return uint8(v), err == nil
	}
	return 0, false
}

// Ether implements Resolver by /etc/ethers.
func (System) Ether(name string) (mac [6]byte, ok bool) {
	f, err := os.Open("/etc/ethers")
	if err != nil {
		return mac, false
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		fields := strings.Fields(beforeComment(s.Text()))
		if len(fields) >= 2 && fields[1] == name && matchMAC(fields[0]) == len(fields[0]) {
			parseMAC(fields[0], &mac)
			return mac, true
		}
	}
	return mac, false
}

//go:embed services.txt
var services string

//go:embed protocols.txt
var protocolNumbers string

var databases sync.Map // file name → map[string][]string

// database returns what a file of lines "name value alias…" says, by name and
// alias, what is built in after it. It is read once.
func database(file, builtin string) map[string][]string {
	if db, ok := databases.Load(file); ok {
		return db.(map[string][]string)
	}
	db := map[string][]string{}
	if f, err := os.Open(file); err == nil {
		readDatabase(db, f)
		f.Close()
	}
	readDatabase(db, strings.NewReader(builtin))
	databases.Store(file, db)
	return db
}

func readDatabase(db map[string][]string, r io.Reader) {
	for s := bufio.NewScanner(r); s.Scan(); {
		f := strings.Fields(beforeComment(s.Text()))
		if len(f) < 2 {
			continue
		}
		db[f[0]] = append(db[f[0]], f[1])
		for _, alias := range f[2:] {
			db[alias] = append(db[alias], f[1])
		}
	}
}

func beforeComment(line string) string {
	line, _, _ = strings.Cut(line, "#")
	return line
}
