package ui

import (
	"io"
	"strings"
	"unicode/utf8"
)

// Table collects rows and prints them with aligned columns, two spaces apart.
// A column whose title begins with ">" is aligned to the right.
type Table struct {
	streams *Streams
	titles  []string
	right   []bool
	rows    [][]cell
}

type cell struct {
	text  string
	style Style
}

// NewTable starts a table; with all titles empty it has no heading.
func (s *Streams) NewTable(titles ...string) *Table {
	t := &Table{streams: s}
	for _, title := range titles {
		title, right := strings.CutPrefix(title, ">")
		t.titles = append(t.titles, title)
		t.right = append(t.right, right)
	}
	return t
}

// Row appends a row; missing cells stay empty.
func (t *Table) Row(cells ...string) { t.Styled(Plain, cells...) }

// Styled appends a row whose first cell is painted.
func (t *Table) Styled(style Style, cells ...string) {
	row := make([]cell, len(t.titles))
	for i := range min(len(cells), len(row)) {
		row[i] = cell{text: cells[i]}
	}
	row[0].style = style
	t.rows = append(t.rows, row)
}

// Print writes the table.
func (t *Table) Print(out io.Writer) error {
	widths := make([]int, len(t.titles))
	heading := make([]cell, len(t.titles))
	for i, title := range t.titles {
		heading[i] = cell{title, Bold}
		widths[i] = utf8.RuneCountInString(title)
	}
	for _, row := range t.rows {
		for i, c := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(c.text))
		}
	}
	var b strings.Builder
	if strings.Join(t.titles, "") != "" {
		t.line(&b, heading, widths)
	}
	for _, row := range t.rows {
		t.line(&b, row, widths)
	}
	_, err := io.WriteString(out, b.String())
	return err
}

func (t *Table) line(b *strings.Builder, row []cell, widths []int) {
	gap := 0 // spaces owed: none is written behind a line's last word
	for i, c := range row {
		pad := widths[i] - utf8.RuneCountInString(c.text)
		if t.right[i] {
			gap += pad
		}
		if c.text != "" {
			b.WriteString(strings.Repeat(" ", gap))
			b.WriteString(t.streams.Paint(c.style, c.text))
			gap = 0
		}
		if !t.right[i] {
			gap += pad
		}
		gap += 2
	}
	b.WriteByte('\n')
}
