// Package ui is what all commands share towards the person in front of them:
// the standard streams, colour, tables, the progress bar, and what an error
// means for the exit code.
package ui

import (
	"io"
	"os"

	"golang.org/x/term"
)

// Streams are a command's standard streams.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer

	colour   bool // Out takes colour
	progress bool // Err is a terminal
}

// New wraps the given streams. Colour is used where out is a terminal and
// NO_COLOR (no-color.org) is not set; a progress bar where errw is a terminal.
func New(in io.Reader, out, errw io.Writer) *Streams {
	return &Streams{
		In: in, Out: out, Err: errw,
		colour:   isTerminal(out) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb",
		progress: isTerminal(errw),
	}
}

// Interactive reports whether a person reads what goes to Err.
func (s *Streams) Interactive() bool { return s.progress }

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// width returns the columns of the terminal behind w, 80 when not known.
func width(w io.Writer) int {
	if f, ok := w.(*os.File); ok {
		if n, _, err := term.GetSize(int(f.Fd())); err == nil && n > 0 {
			return n
		}
	}
	return 80
}

// Style is a way to print words.
type Style string

// Styles, as the parameters of SGR (ECMA-48 section 8.3.117).
const (
	Plain Style = ""
	Bold  Style = "1"
	Faint Style = "2"
	Red   Style = "31"
	Green Style = "32"
	Amber Style = "33"
)

// Paint returns text in a style where the output takes it, else text itself.
func (s *Streams) Paint(style Style, text string) string {
	if !s.colour || style == Plain || text == "" {
		return text
	}
	return "\x1b[" + string(style) + "m" + text + "\x1b[0m"
}
