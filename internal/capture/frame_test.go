package capture

import (
	"bytes"
	"encoding/hex"
	"testing"
)

func TestFrame(t *testing.T) {
	const zero = "000000000000000000000000"
	for _, c := range []struct {
		link     LinkType
		in, want string // hexadecimal; "" is an error
	}{
		{Ethernet, "0102", "0102"},
		{101, "45aa", zero + "080045aa"},
		{12, "60aa", zero + "86dd60aa"},
		{228, "45aa", zero + "080045aa"},
		{229, "60aa", zero + "86dd60aa"},
		{0, "0200000045aa", zero + "080045aa"},
		{0, "1e00000060aa", zero + "86dd60aa"},
		{108, "0000001e60aa", zero + "86dd60aa"},
		{113, "000000010006020000000010" + "0000" + "0806" + "00010800", zero + "080600010800"},
		{276, "0800" + "0000000000020001000602000000001000" + "00" + "45aa", zero + "080045aa"},
		{101, "", ""},
		{101, "10", ""},
		{0, "020000", ""},
		{113, "00", ""},
		{276, "00", ""},
		{105, "00", ""}, // IEEE 802.11
	} {
		in, err := hex.DecodeString(c.in)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Packet{Data: in, LinkType: c.link}.Frame(make([]byte, 3))
		if c.want == "" {
			if err == nil {
				t.Errorf("link type %d: % x became % x, want an error", c.link, in, got)
			}
			continue
		}
		want, _ := hex.DecodeString(c.want)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("link type %d: % x became % x, %v, want % x", c.link, in, got, err, want)
		}
	}
}
