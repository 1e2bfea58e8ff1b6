package main

import (
	"bytes"
	"encoding/hex"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

var update = flag.Bool("update", false, "rewrite the committed captures")

// TestCommitted fails when a committed capture is not what the generator makes.
func TestCommitted(t *testing.T) {
	for _, c := range captures {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join("..", c.name)
			want := c.bytes()
			if *update {
				if err := os.WriteFile(path, want, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			got, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("%s is not what the generator makes (%d bytes, want %d): go run ./examples/captures/gen", c.name, len(got), len(want))
			}
		})
	}
}

// TestListed keeps the README's table and the generator's list the same.
func TestListed(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range captures {
		if row := "| `" + c.name + "` | " + c.about + " |"; !strings.Contains(string(readme), row) {
			t.Errorf("README.md lacks the row %s", row)
		}
	}
}

// TestWellFormed checks that every frame but the malformed ones decodes to the end.
func TestWellFormed(t *testing.T) {
	for _, c := range captures {
		if c.name == "malformed.pcap" || c.name == "fragments.pcap" || c.name == "mixed.pcapng" {
			continue
		}
		r, err := pcapgo.NewReader(bytes.NewReader(c.bytes()))
		if err != nil {
			t.Fatal(err)
		}
		src := gopacket.NewPacketSource(r, layers.LinkTypeEthernet)
		n := 0
		for p := range src.Packets() {
			n++
			if e := p.ErrorLayer(); e != nil {
				t.Errorf("%s: packet %d: %v", c.name, n, e.Error())
			}
		}
		if n == 0 {
			t.Errorf("%s is empty", c.name)
		}
	}
}

// TestQUICKeys compares the key schedule with the worked example of RFC 9001, appendix A.1.
func TestQUICKeys(t *testing.T) {
	k := newQUICKeys([]byte{0x83, 0x94, 0xc8, 0xf0, 0x3e, 0x51, 0x57, 0x08})
	for _, c := range []struct {
		name string
		got  []byte
		want string
	}{
		{"key", k.key, "1f369613dd76d5467730efcbe3b1a22d"},
		{"iv", k.iv, "fa044b2f42a3fd3b46fb255c"},
		{"hp", k.hp, "9f50449e04a0e810283a1e9933adedd2"},
	} {
		if got := hex.EncodeToString(c.got); got != c.want {
			t.Errorf("%s = %s, want %s", c.name, got, c.want)
		}
	}
	if n := len(quicInitial([]byte("12345678"), []byte("abcdefgh"), clientHello("example.org"))); n != 1200 {
		t.Errorf("an Initial datagram has %d bytes, want 1200", n)
	}
}
