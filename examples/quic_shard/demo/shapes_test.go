package main

import (
	"net/netip"
	"testing"

	"github.com/skep-bpf/skep"
	"github.com/skep-bpf/skep/hook"
)

var from = netip.MustParseAddrPort("192.0.2.7:4000")

// shape is a packet and what becomes of it with one worker at place 0 of two.
type shape struct {
	name    string
	packet  []byte
	counter int // of the enum in quic_shard.c
	taken   bool
}

func shapes() []shape {
	const byLong, byShort, nobody, malformed = 0, 1, 2, 3
	return []shape{
		{"long", long([]byte{2, 1, 1}, nil), byLong, true},
		{"short", short([]byte{4}), byShort, true},
		{"long, worker gone", long([]byte{3}, nil), nobody, true},
		{"short, worker gone", short([]byte{255}), nobody, true},
		{"empty", nil, malformed, false},
		{"short, cut", []byte{shortHeader}, malformed, false},
		{"long, cut before the length", []byte{longHeader, 0, 0, 0, 1}, malformed, false},
		{"long, cut behind it", []byte{longHeader, 0, 0, 0, 1, 8}, malformed, false},
		{"long, no connection ID", long(nil, []byte{1}), malformed, false},
		{"long, one too long", long(make([]byte, 21), nil), malformed, false},
	}
}

func oneWorker(t *testing.T) (*skep.Machine, *hook.Reuseport, *skep.Collection) {
	t.Helper()
	m, err := skep.NewMachine(&machine)
	if err != nil {
		t.Fatal(err)
	}
	coll, err := load(m, object, 2)
	if err != nil {
		t.Fatal(err)
	}
	g, err := hook.NewReuseport(m, &hook.ReuseportOptions{
		Network: "udp", Local: netip.MustParseAddrPort("192.0.2.1:443"), Program: coll.Programs["quic_shard"],
	})
	if err != nil {
		t.Fatal(err)
	}
	w, err := g.ListenPacket()
	if err != nil {
		t.Fatal(err)
	}
	if err := coll.Maps["workers"].Put(uint32(0), w.Socket()); err != nil {
		t.Fatal(err)
	}
	return m, g, coll
}
