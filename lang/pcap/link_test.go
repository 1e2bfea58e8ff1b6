package pcap

import (
	"errors"
	"net/netip"
	"testing"
)

func TestLinkTypes(t *testing.T) {
	known := 0
	for l := range links {
		link := LinkType(l)
		row := link.row()
		if row.offsets != nil {
			known++
		}
		if row.name == "" {
			continue
		}
		if got, ok := LinkTypeByName("dlt_" + row.name); !ok || got != link {
			t.Errorf("LinkTypeByName(dlt_%s) = %d, %v", row.name, got, ok)
		}
		if link.String() != row.name || link.Description() == "" {
			t.Errorf("%d: %s, %q", l, link, link.Description())
		}
	}
	if known != 68 {
		t.Errorf("%d link types with offsets, want libpcap 1.10's 68", known)
	}
	if _, ok := LinkTypeByName(""); ok {
		t.Error("the empty name is one")
	}
	if s := LinkType(-1).String(); s != "DLT -1" {
		t.Errorf("LinkType(-1): %s", s)
	}
	for file, want := range map[uint32]LinkType{0: Null, 1: Ethernet, 101: Raw, 105: IEEE80211, 113: LinuxSLL, 276: LinuxSLL2, 0x14000001: Ethernet} {
		if got := FromFile(file); got != want {
			t.Errorf("FromFile(%d) = %v, want %v", file, got, want)
		}
	}
}

// fewNames is a resolver that knows a few.
type fewNames struct{}

func (fewNames) Host(name string) ([]netip.Addr, error) {
	if name == "both" {
		return []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("2001:db8::1")}, nil
	}
	return nil, errors.New("no such host")
}
func (fewNames) Net(name string) (uint32, bool) { return 0x0a010000, name == "lan" }
func (fewNames) Port(name, transport string) (uint16, bool) {
	return 7777, name == "game" && transport == "udp"
}
func (fewNames) Proto(name string) (uint8, bool)   { return 99, name == "mine" }
func (fewNames) Ether(name string) ([6]byte, bool) { return [6]byte{1, 2, 3, 4, 5, 6}, name == "both" }

// TestResolver compares names with what they stand for.
func TestResolver(t *testing.T) {
	opts := &Options{Resolver: fewNames{}}
	for _, tt := range []struct{ named, plain string }{
		{"host both", "host 10.0.0.1 or ip6 host 2001:db8::1"},
		{"ip host both", "ip host 10.0.0.1"},
		{"ip6 src host both", "ip6 src host 2001:db8::1"},
		{"net lan", "net 10.1.0.0"},
		{"port game", "udp port 7777"},
		{"udp dst port game", "udp dst port 7777"},
		{"portrange game-game", "udp portrange 7777-7777"},
		{"ip proto mine", "ip proto 99"},
		{"ether host both", "ether host 1:2:3:4:5:6"},
	} {
		a, err := CompileProgram(tt.named, Ethernet, 65535, opts)
		if err != nil {
			t.Errorf("%q: %v", tt.named, err)
			continue
		}
		b, err := CompileProgram(tt.plain, Ethernet, 65535, opts)
		if err != nil || codeText(a) != codeText(b) {
			t.Errorf("%q is not %q (%v)", tt.named, tt.plain, err)
		}
	}
	for _, expr := range []string{"host neither", "net wan", "port 22x", "tcp port game", "ip proto yours", "ether host neither"} {
		if _, err := Compile(expr, Ethernet, 65535, opts); !errors.Is(err, ErrMeaning) {
			t.Errorf("%q: %v", expr, err)
		}
	}
}

// TestSystem looks up what every system has, in its files or in our tables.
func TestSystem(t *testing.T) {
	var s System
	if p, ok := s.Port("http", "tcp"); !ok || p != 80 {
		t.Errorf("http is %d, %v", p, ok)
	}
	if p, ok := s.Port("domain", "udp"); !ok || p != 53 {
		t.Errorf("domain is %d, %v", p, ok)
	}
	if _, ok := s.Port("http", "nosuch"); ok {
		t.Error("http over nosuch")
	}
	if p, ok := s.Proto("ospf"); !ok || p != 89 {
		t.Errorf("ospf is %d, %v", p, ok)
	}
	if a, err := s.Host("localhost"); err != nil || !a[0].IsLoopback() {
		t.Errorf("localhost is %v, %v", a, err)
	}
	for name, want := range map[string]string{"0": "0.0.0.0", "10": "0.0.0.10", "127.1": "127.0.0.1", "1.2.3.4": "1.2.3.4",
		"0x7f0000Bb": "127.0.0.187", "010.1.65535": "8.1.255.255"} {
		if a, err := s.Host(name); err != nil || a[0].String() != want {
			t.Errorf("%s is %v, %v, want %s", name, a, err, want)
		}
	}
	for _, name := range []string{"1.2.3.256", "1.256.3", "4294967296", "1..2", "08", "0b1", "0o7", "1_0", ""} {
		if a, ok := parseNumeric(name); ok {
			t.Errorf("%q is %v", name, a)
		}
	}
	if _, ok := s.Ether("nosuchhost"); ok {
		t.Error("nosuchhost has an Ethernet address")
	}
}
