package skep_test

import (
	"os"
	"path/filepath"
	"regexp"
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

// TestDocsAreLinked: links between the pages lead to files, and docs/README.md leads to every page.
func TestDocsAreLinked(t *testing.T) {
	var pages []string
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/*/*.md", "examples/*.md", "examples/*/*.md"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: no files, %v", pattern, err)
		}
		pages = append(pages, files...)
	}
	linked := map[string]bool{}
	link := regexp.MustCompile(`\]\(([^)#:\s]+)(#[^)]*)?\)`)
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			to := filepath.Join(filepath.Dir(page), m[1])
			if _, err := os.Stat(to); err != nil {
				t.Errorf("%s: %s leads nowhere", page, m[1])
			}
			if page == filepath.Join("docs", "README.md") {
				linked[to] = true
			}
		}
	}
	for _, page := range pages {
		if filepath.Dir(page) == "docs" && filepath.Base(page) != "README.md" && !linked[page] {
			t.Errorf("docs/README.md does not lead to %s", page)
		}
	}
}
