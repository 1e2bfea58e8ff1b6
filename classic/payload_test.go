package classic_test

import (
	"testing"

	"github.com/skep-bpf/skep/classic"
)

// FuzzFindPayload: whatever the packet, the offset is none or behind the
// network header.
func FuzzFindPayload(f *testing.F) {
	f.Add([]byte("\x45\x00\x00\x28\x00\x00\x00\x00\x40\x06\x00\x00\x0a\x00\x00\x01\x0a\x00\x00\x02"), uint16(0x0800), 0)
	f.Add([]byte("\x11\x00\x00\x01\x00\x16\x00\x21\x45"), uint16(0x8864), 0)
	f.Fuzz(func(t *testing.T, packet []byte, typ uint16, network int) {
		if at := classic.FindPayload(packet, typ, network); at != 0 && at < network {
			t.Errorf("%d, before %d", at, network)
		}
	})
}

// TestFindPayloadShortPPP: PPPoE forbids PPP's short form, and so does the
// dissector; older kernels passed it.
func TestFindPayloadShortPPP(t *testing.T) {
	ip := "\x45\x00\x00\x1c\x00\x00\x00\x00\x40\x11\x00\x00\x0a\x00\x00\x01\x0a\x00\x00\x02"
	for head, want := range map[string]int{
		"\x11\x00\x00\x01\x00\x1e\x00\x21": 8 + 20 + 8,
		"\x11\x00\x00\x01\x00\x1d\x21":     0,
		"\x21\x00\x00\x01\x00\x1e\x00\x21": 0,
	} {
		if got := classic.FindPayload([]byte(head+ip), 0x8864, 0); got != want {
			t.Errorf("% x: %d, want %d", head, got, want)
		}
	}
}
