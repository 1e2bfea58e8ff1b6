package main

import (
	"os"
	"path/filepath"
	"testing"
)

// The committed pages are those the rows make.
func TestStale(t *testing.T) {
	for name, page := range pages {
		got, err := os.ReadFile(filepath.Join("../../../docs/reference", name))
		if err != nil {
			t.Error(err)
			continue
		}
		if string(got) != page() {
			t.Errorf("docs/reference/%s is stale: run go generate ./internal/catalog", name)
		}
	}
}
