package cli

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestMutants hands damaged objects to every command that reads one: the answer
// is output or one line and an exit code, never a panic. The damage is the same
// each time; the readers' own fuzz targets look further.
func TestMutants(t *testing.T) {
	paths, err := filepath.Glob("../../examples/*/*.o")
	if err != nil || len(paths) == 0 {
		t.Fatal(paths, err)
	}
	const each = 3
	rnd := rand.New(rand.NewPCG(1, 2))
	object, page := filepath.Join(t.TempDir(), "mutant.o"), filepath.Join(t.TempDir(), "page.html")
	for _, path := range paths {
		whole, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for i := range each {
			data := damage(rnd, bytes.Clone(whole))
			if err := os.WriteFile(object, data, 0o600); err != nil {
				t.Fatal(err)
			}
			for _, args := range [][]string{
				{"disasm", object},
				{"verify", "--html", page, object},
				{"run", object, "--checked", "--pcap", "../../examples/captures/malformed.pcap"},
			} {
				var out, errs bytes.Buffer
				code := Main(args, strings.NewReader(""), &out, &errs)
				if n := strings.Count(errs.String(), "\n"); n > 1 || code == 0 && n > 0 || code > 1 {
					t.Errorf("mutant %d of %s: %s: exit code %d, %q", i, path, args[0], code, errs.String())
				}
			}
		}
	}
}

// damage changes a few bits, bytes and words of an object.
func damage(rnd *rand.Rand, data []byte) []byte {
	for range 1 + rnd.IntN(4) {
		at := rnd.IntN(len(data))
		switch rnd.IntN(3) {
		case 0:
			data[at] ^= 1 << rnd.IntN(8)
		case 1:
			data[at] = byte(rnd.Uint32())
		default:
			for i := at; i < min(at+4, len(data)); i++ {
				data[i] = 0xff
			}
		}
	}
	return data
}
