// Package page makes a page of a verification: one HTML file, complete in
// itself, with the programs' flow graphs, source, instructions, and what the
// verifier knew at every step of the paths it followed.
//
// The data comes from package verify; the graph is laid out here (blocks.go,
// layout.go, draw.go); page.js only looks things up and shows them. The same
// object gives the same page, byte for byte.
package page

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"

	"github.com/skep-bpf/skep/image"
	"github.com/skep-bpf/skep/verify"
)

//go:embed page.html
var pageHTML string

//go:embed page.css
var pageCSS string

//go:embed page.js
var pageJS string

var tmpl = template.Must(template.New("page").Parse(pageHTML))

// Steps is how many steps of each of n programs to ask of verify.Options.Trace:
// what a page can hold and a reader look through.
func Steps(n int) int { return max(2_000, min(20_000, 60_000/max(n, 1))) }

// Write writes the page about the programs of a report, which package verify
// made of img with a trace.
func Write(w io.Writer, img *image.Image, r *verify.Report) error {
	v := struct {
		Title    string
		CSS      template.CSS
		JS       template.JS
		Programs []*program
	}{Title: r.Object, CSS: template.CSS(pageCSS), JS: template.JS(pageJS)}
	for _, p := range r.Programs {
		if img.Program(p.Name) == nil {
			return fmt.Errorf("no program %s", p.Name)
		}
		v.Programs = append(v.Programs, newProgram(img, p))
	}
	return tmpl.Execute(w, v)
}
