// Gendoc writes the reference pages docs/reference/*.md from the catalog's
// rows. `go generate ./internal/catalog` runs it; its test fails when a page is stale.
package main

import (
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: gendoc <directory>")
		os.Exit(2)
	}
	for name, page := range pages {
		if err := os.WriteFile(filepath.Join(os.Args[1], name), []byte(page()), 0o666); err != nil {
			fmt.Fprintln(os.Stderr, "gendoc:", err)
			os.Exit(1)
		}
	}
}
