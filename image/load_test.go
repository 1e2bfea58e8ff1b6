package image

import (
	"path/filepath"
	"testing"

	"github.com/skep-bpf/skep/internal/catalog"
)

// TestExamples links the objects of examples/.
func TestExamples(t *testing.T) {
	objs, err := filepath.Glob("../examples/*/*.o")
	if err != nil || len(objs) == 0 {
		t.Fatalf("no example objects: %v", err)
	}
	for _, path := range objs {
		img, err := LoadFile(path, nil)
		if err != nil {
			t.Error(err)
			continue
		}
		for _, p := range img.Programs {
			if p.Err != nil {
				t.Error(p.Err)
			}
			if p.Type == catalog.ProgUnspec || len(p.Funcs) == 0 || len(p.Lines) == 0 {
				t.Errorf("%s: program %s has type %d, %d functions, %d lines", path, p.Name, p.Type, len(p.Funcs), len(p.Lines))
			}
		}
	}
}
