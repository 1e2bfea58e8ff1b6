package maps_test

import (
	"errors"
	"math"
	"testing"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/maps"
)

// TestHuge makes maps as an object file may ask for them, far larger than the
// machine: they are refused, or cost nothing until they are used.
func TestHuge(t *testing.T) {
	inner := def(catalog.MapArray, 4, 4, 1, 0)
	for _, row := range catalog.MapKinds() {
		if !maps.Supported(row.Type) {
			continue
		}
		for _, entries := range []uint32{1 << 28, 1 << 31, math.MaxUint32} {
			for _, value := range []uint32{4, 8, 0, 1 << 20, math.MaxInt32} {
				for _, key := range []uint32{row.KeySize.Min, 256} {
					d := def(row.Type, key, value, entries, row.MustFlags)
					if row.Type == catalog.MapArrayOfMaps || row.Type == catalog.MapHashOfMaps {
						d.Inner = &inner
					}
					m, err := maps.New(&maps.Config{CPUs: 2}, d)
					if err == nil {
						m.Close()
					} else if !errors.As(err, new(errno.Errno)) {
						t.Errorf("%s: %v", row.Name, err)
					}
				}
			}
		}
	}
}
