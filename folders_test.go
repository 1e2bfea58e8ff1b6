package skep_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestFoldersAreListed: CONTRIBUTING.md's table has every folder that holds a
// package, or the folder above it.
func TestFoldersAreListed(t *testing.T) {
	text, err := os.ReadFile("CONTRIBUTING.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, pattern := range []string{"*/*.go", "internal/*/*.go", "lang/*/*.go", "cmd/*/*.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: no files, %v", pattern, err)
		}
		last := ""
		for _, f := range files {
			dir := filepath.ToSlash(filepath.Dir(f))
			if dir != last && !strings.Contains(string(text), "`"+dir+"`") {
				t.Errorf("the table lacks %s", dir)
			}
			last = dir
		}
	}
}
