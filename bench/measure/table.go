package measure

import (
	"fmt"
	"io"
	"strings"
)

// Table is rows of text under a head, printed in Markdown.
type Table struct {
	Head []string
	Rows [][]string
}

// Add appends a row.
func (t *Table) Add(cells ...string) { t.Rows = append(t.Rows, cells) }

// Write prints the table with its columns aligned.
func (t *Table) Write(w io.Writer) error {
	widths := make([]int, len(t.Head))
	rows := [][]string{t.Head}
	for _, row := range t.Rows {
		escaped := make([]string, len(row))
		for i, cell := range row {
			escaped[i] = strings.ReplaceAll(cell, "|", `\|`)
		}
		rows = append(rows, escaped)
	}
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], len([]rune(cell)))
		}
	}
	var b strings.Builder
	line := func(row []string) {
		for i, cell := range row {
			pad := strings.Repeat(" ", widths[i]-len([]rune(cell)))
			if i == 0 {
				b.WriteString("| " + cell + pad)
			} else {
				b.WriteString(" | " + pad + cell)
			}
		}
		b.WriteString(" |\n")
	}
	line(rows[0])
	for i, width := range widths {
		if i == 0 {
			b.WriteString("|-" + strings.Repeat("-", width) + "-")
		} else {
			b.WriteString("|-" + strings.Repeat("-", width) + ":")
		}
	}
	b.WriteString("|\n")
	for _, row := range rows[1:] {
		line(row)
	}
	_, err := fmt.Fprintln(w, b.String())
	return err
}

// Number prints a ratio or a time with three significant digits.
func Number(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}
