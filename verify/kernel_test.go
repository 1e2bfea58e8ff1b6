package verify_test

import (
	"path/filepath"
	"testing"

	"github.com/skep-bpf/skep/image"
	"github.com/skep-bpf/skep/internal/cli/engine"
	"github.com/skep-bpf/skep/internal/linux"
	"github.com/skep-bpf/skep/internal/oracle"
	"github.com/skep-bpf/skep/verify"
)

// The kernel beneath, which the rows were taken from, loads what its release is said to, and no more.
func TestKernelAgrees(t *testing.T) {
	oracle.Need(t, "bpf(2)", linux.Available())
	objects, err := filepath.Glob("../examples/*/*.o")
	if err != nil || len(objects) == 0 {
		t.Fatal(objects, err)
	}
	open := engine.ByName(engine.Linux)
	asked := 0
	for _, object := range objects {
		img, err := image.LoadFile(object, nil)
		if err != nil {
			t.Fatal(err)
		}
		r, err := verify.Image(img, nil)
		if err != nil {
			t.Fatal(err)
		}
		coll, err := open(img, &engine.Options{})
		if err != nil {
			t.Fatalf("%s: %v", object, err)
		}
		for i, ip := range img.Programs {
			if ip.Err != nil {
				continue
			}
			v, err := coll.Verify(ip, 0)
			if err != nil {
				t.Errorf("%s: %s: %v", object, ip.Name, err)
				continue
			}
			asked++
			if got := r.Programs[i].LoadsOn("6.18"); got != (v.Refused == nil) {
				t.Errorf("%s: %s: loads: %v; the kernel: %v", object, ip.Name, got, v.Refused)
			}
		}
		coll.Close()
	}
	t.Logf("%d programs", asked)
}
