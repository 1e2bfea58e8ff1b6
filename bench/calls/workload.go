package main

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/rand/v2"

	"github.com/skep-bpf/skep/bench"
)

// A workload is a row of the table.
type workload struct {
	name    string
	object  string // among objects
	program string
	core    string // what native.c and wasm.c call it; "" if they have no such thing
	turns   int    // how often one run does the work; 0: once
	packet  []byte
	events  string // the ring buffer the program fills
	varies  bool   // every run takes another key, so that verdicts are not comparable
}

var table = []workload{
	{name: "empty", object: "workloads", program: "empty_once", core: "empty", packet: tcpPacket},
	{name: "parse", object: "workloads", program: "parse_once", core: "parse", packet: tcpPacket},
	{name: "FNV-1a, 1,514 bytes", object: "workloads", program: "fnv_once", core: "fnv", packet: tcpPacket},
	{name: "jhash, 1,514 bytes", object: "workloads", program: "jhash_once", core: "jhash", packet: tcpPacket},
	{name: "array counter, atomic", object: "workloads", program: "count_once", core: "count", packet: tcpPacket},
	{name: "IPv4 checksum", object: "workloads", program: "checksum_once", core: "checksum", packet: tcpPacket},
	{name: "balancer", object: "balancer", program: "balancer_once", packet: balancerPacket},
	{name: "firewall", object: "firewall", program: "firewall", packet: tcpPacket},
	{name: "100 k routes", object: "workloads", program: "route_once", packet: tcpPacket, varies: true},
	{name: "1 M flows, hit", object: "workloads", program: "flow_hit", packet: tcpPacket, varies: true},
	{name: "1 M flows, miss", object: "workloads", program: "flow_miss", packet: tcpPacket, varies: true},
	{name: "8 tail calls", object: "workloads", program: "chain_once", core: "chain", packet: tcpPacket},
	{name: "bpf_loop × 1000", object: "workloads", program: "loop_once", core: "loop", packet: tcpPacket},
	{name: "ring buffer, 64 bytes", object: "workloads", program: "event_once", packet: tcpPacket, events: "events"},
	{name: "empty, inside", object: "workloads", program: "empty_in", core: "empty", turns: 100, packet: tcpPacket},
	{name: "parse, inside", object: "workloads", program: "parse_in", core: "parse", turns: 100, packet: tcpPacket},
	{name: "array counter, inside", object: "workloads", program: "count_in", core: "count", turns: 100, packet: tcpPacket},
	{name: "IPv4 checksum, inside", object: "workloads", program: "checksum_in", core: "checksum", turns: 100, packet: tcpPacket},
}

// object is an ELF file and what its maps hold before the first run.
type object struct {
	name string
	elf  []byte
	file string // where to read it from instead of elf, relative to the module
	fill func(loaded) error
}

var objects = []object{
	{name: "workloads", elf: bench.Object, fill: fillWorkloads},
	{name: "balancer", elf: bench.Balancer, fill: fillBalancer},
	{name: "firewall", file: "../examples/firewall/firewall.o", fill: fillFirewall},
}

// loaded is an object on some engine.
type loaded interface {
	put(mapName string, key, value any) error
	putAll(mapName string, keys, values any) error
	program(name string) any // as a value of program arrays
}

// Sizes of the tables; workloads.bpf.c has the same.
const (
	flowCount  = 1 << 20
	routeCount = 100_000
	chainLinks = 8
)

type flowKey struct {
	Saddr, Daddr uint32
	Sport, Dport uint16
	Protocol     uint32
}

type routeKey struct {
	Length  uint32
	Address [4]byte
}

func fillWorkloads(l loaded) error {
	for i := range uint32(chainLinks) {
		if err := l.put("chain", i, l.program(fmt.Sprintf("link_%d", i))); err != nil {
			return err
		}
	}
	keys, values := make([]flowKey, flowCount), make([]uint64, flowCount)
	for i := range keys {
		n := uint32(i)
		keys[i] = flowKey{Saddr: n, Daddr: ^n, Sport: uint16(n), Dport: 443, Protocol: 6}
	}
	if err := l.putAll("flows", keys, values); err != nil {
		return err
	}
	routes, actions := routeTable()
	return l.putAll("routes", routes, actions)
}

// routeTable draws prefixes with lengths as a backbone's table has them: most are /24.
func routeTable() (routes []routeKey, actions []uint32) {
	r := rand.New(rand.NewPCG(1, 2))
	seen := map[routeKey]bool{}
	for len(routes) < routeCount {
		length := uint32(24)
		switch p := r.IntN(100); {
		case p < 5:
			length = 8 + r.Uint32N(8)
		case p < 35:
			length = 16 + r.Uint32N(8)
		case p < 45:
			length = 25 + r.Uint32N(8)
		}
		key := routeKey{Length: length}
		binary.BigEndian.PutUint32(key.Address[:], r.Uint32()&^(1<<(32-length)-1))
		if !seen[key] {
			seen[key] = true
			routes = append(routes, key)
			actions = append(actions, 1+r.Uint32N(2)) // drop or pass
		}
	}
	return routes, actions
}

// fillBalancer makes one server, reached over IPv4, serve the packet's address and port.
func fillBalancer(l loaded) error {
	mapped := func(a, b, c, d byte) (v [16]byte) {
		copy(v[10:], []byte{0xff, 0xff, a, b, c, d})
		return v
	}
	vip := struct {
		Address       [16]byte
		Port          uint16
		Protocol, Pad uint8
	}{mapped(198, 51, 100, 80), 80, 6, 0}
	server := struct {
		Address [16]byte
		Flags   uint32
	}{Address: mapped(10, 0, 0, 1)}
	if err := l.put("vips", vip, [2]uint32{}); err != nil {
		return err
	}
	if err := l.put("reals", uint32(1), server); err != nil {
		return err
	}
	for slot := range uint32(251) {
		if err := l.put("ring", slot, uint32(1)); err != nil {
			return err
		}
	}
	return nil
}

// fillFirewall lists a thousand networks, one of them the packet's.
func fillFirewall(l loaded) error {
	for i := range 1000 {
		key := routeKey{Length: 24, Address: [4]byte{192, byte(i >> 8), byte(i), 0}}
		if err := l.put("block4", key, uint32(3+i%16)); err != nil {
			return err
		}
	}
	return l.put("block4", routeKey{Length: 24, Address: [4]byte{203, 0, 113, 0}}, uint32(5))
}

// Packets: a full-size TCP segment to port 80, and one to the balancer's address
// in the middle of a connection.
var (
	tcpPacket      = segment([4]byte{198, 51, 100, 7})
	balancerPacket = segment([4]byte{198, 51, 100, 80})
)

func segment(to [4]byte) []byte {
	const headers = "020000000001" + "020000000002" + "0800" + // Ethernet
		"450005dc" + "00004000" + "4006" + "0000" + "cb007109" + "00000000" + // IPv4 from 203.0.113.9
		"c0000050" + "00000001" + "00000001" + "5010ffff" + "00000000" // TCP to port 80, ACK
	p, err := hex.DecodeString(headers)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	copy(p[30:], to[:])
	payload := make([]byte, 1514-len(p))
	for i := range payload {
		payload[i] = byte(i * 7)
	}
	return append(p, payload...)
}
