package main

import (
	"bytes"
	"io"
	"path/filepath"
	"testing"

	"github.com/skep-bpf/skep/internal/capture"
)

// udp are the UDP packets over IPv4 of a capture, with what answer does to them done here by hand.
func udp(t *testing.T, path string) (in, answers [][]byte) {
	for _, f := range packets(t, path) {
		if len(f) < 42 || f[12] != 8 || f[13] != 0 || f[23] != 17 {
			continue
		}
		in = append(in, f)
		answers = append(answers, bytes.Join([][]byte{f[6:12], f[:6], f[12:26], f[30:34], f[26:30], f[36:38], f[34:36], f[38:]}, nil))
	}
	return in, answers
}

func packets(t *testing.T, path string) (all [][]byte) {
	t.Helper()
	r, err := capture.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for {
		p, err := r.Next()
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, bytes.Clone(p.Data))
	}
}

const dns = "../../captures/dns.pcap"

func TestCaptures(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out.pcap")
	_, want := udp(t, dns)
	n, err := captures(dns, out)
	if n != len(want) || n == 0 || err != nil {
		t.Fatalf("%d packets are answered, %v; the capture has %d", n, err, len(want))
	}
	for i, f := range packets(t, out) {
		if !bytes.Equal(f, want[i]) {
			t.Errorf("packet %d: % x, want % x", i, f, want[i])
		}
	}
	if _, err := captures("nowhere.pcap", out); err == nil {
		t.Error("a capture that is not there")
	}
}
