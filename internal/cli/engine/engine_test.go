package engine

import (
	"testing"

	"github.com/skep-bpf/skep/image"
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/linux"
	"github.com/skep-bpf/skep/internal/oracle"
	"github.com/skep-bpf/skep/internal/testprog"
)

// A perf event array with more entries than there are CPUs is a map like any
// other, on both engines.
func TestPerfEventArrayLargerThanCPUs(t *testing.T) {
	for _, name := range []string{Skep, Linux} {
		t.Run(name, func(t *testing.T) {
			if name == Linux {
				oracle.Need(t, "bpf(2)", linux.Available())
			}
			img := testprog.Image(t, []*image.Map{
				{Name: "events", Type: catalog.MapPerfEventArray, KeySize: 4, ValueSize: 4, MaxEntries: 512},
			}, testprog.Prog{Name: "pass", Type: catalog.ProgXDP, Text: "r0 = 2\nexit"})
			coll, err := ByName(name)(img, &Options{CPUs: 1})
			if err != nil {
				t.Fatal(err)
			}
			defer coll.Close()
			v, err := coll.Verify(img.Programs[0], 0)
			if err != nil || v.Refused != nil {
				t.Errorf("Verify: %+v, %v", v, err)
			}
		})
	}
}
