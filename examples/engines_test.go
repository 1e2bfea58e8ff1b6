package examples

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/skep-bpf/skep/image"
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/linux"
	"github.com/skep-bpf/skep/internal/oracle"
)

// TestEnginesAgree runs every program on all captures, one after the other,
// whether it makes sense or not, and wants of skep what the kernel does: verdicts, maps, events, traces,
// and the packets afterwards bit for bit. In checked mode packets are run one by one, else in batches.
func TestEnginesAgree(t *testing.T) {
	oracle.Need(t, "bpf(2)", linux.Available())
	t.Chdir("..")
	captures := glob(t, "examples/captures/*.pcap*")
	for _, object := range glob(t, "examples/*/*.o") {
		if strings.Contains(object, "refused") {
			continue
		}
		img, err := image.LoadFile(object, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range img.Programs {
			if catalog.ProgKindByType(p.Type).Flags&catalog.HasPacket == 0 {
				continue // it is tested beside its source
			}
			t.Run(p.Name, func(t *testing.T) {
				out := filepath.Join(t.TempDir(), "out.pcap")
				command := "run " + object + " --prog " + p.Name + " --max 0 --out " + out
				for _, capture := range captures {
					command += " --pcap " + capture
				}
				ours, ourPackets := untimed(skep(t, command)), contents(t, out)
				theirs, theirPackets := untimed(skep(t, command+" --engine linux")), contents(t, out)
				if d := cmp.Diff(theirs, ours); d != "" {
					t.Errorf("the kernel − and skep +:\n%s", d)
				}
				if !bytes.Equal(ourPackets, theirPackets) {
					t.Error("the packets afterwards differ")
				}
				singly, singlePackets := untimed(skep(t, command+" --checked")), contents(t, out)
				if d := cmp.Diff(singly, ours); d != "" || !bytes.Equal(singlePackets, ourPackets) {
					t.Errorf("one by one − and together +, packets the same: %v\n%s", bytes.Equal(singlePackets, ourPackets), d)
				}
			})
		}
	}
}
