package skep_test

import (
	"errors"
	"testing"

	"github.com/skep-bpf/skep"
	"github.com/skep-bpf/skep/image"
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/testprog"
)

// TestVerifyWithoutRunning: what cannot be run in user space can be verified, and
// so can what waits for sizes from its tool; a map nobody could make is an error.
func TestVerifyWithoutRunning(t *testing.T) {
	m, err := skep.NewMachine(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	under := testprog.Prog{Name: "p", Type: catalog.ProgKprobe, Text: "call bpf_get_current_task\nr0 = 0\nexit"}
	img := testprog.Image(t, nil, under)
	if _, err := m.LoadCollection(img); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("it was loaded: %v", err)
	}
	if list, err := m.Verify(img); err != nil || len(list) != 1 || list[0].Err != nil {
		t.Errorf("%v, %+v", err, list)
	}
	look := testprog.Prog{Name: "p", Type: catalog.ProgXDP, Text: "r0 = 0\n*(u32 *)(r10 - 4) = r0\nr2 = r10\nr2 += -4\nr1 = map_idx[0] ll\ncall bpf_map_lookup_elem\nr0 = *(u64 *)(r0 + 0)\nexit"}
	open := testprog.Image(t, []*image.Map{{Name: "sized_later", Type: catalog.MapHash, KeySize: 4, ValueSize: 8}}, look)
	list, err := m.VerifyLog(open, 2)
	if err != nil || len(list) != 1 {
		t.Fatal(err)
	}
	var refusal *skep.VerifierError
	if !errors.As(list[0].Err, &refusal) || refusal.Log == "" {
		t.Errorf("a lookup unchecked: %v", list[0].Err)
	}
	never := testprog.Image(t, []*image.Map{{Name: "bad", Type: catalog.MapHash, KeySize: 0, ValueSize: 8, MaxEntries: 1}}, look)
	if _, err := m.Verify(never); err == nil {
		t.Error("a hash without keys")
	}
}
