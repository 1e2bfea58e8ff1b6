package classic

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// ErrSyntax is the sentinel of every [SyntaxError].
var ErrSyntax = errors.New("syntax error")

// SyntaxError is a fault in assembly text. Lines and columns count from 1,
// columns in bytes.
type SyntaxError struct {
	File      string
	Line, Col int
	Msg       string
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Col, e.Msg)
}

// Is makes every SyntaxError an [ErrSyntax].
func (e *SyntaxError) Is(target error) bool { return target == ErrSyntax }

type tokenKind uint8

const (
	tokEnd tokenKind = iota
	tokWord
	tokNumber
	tokPunct
)

// token is a piece of text; of a number, value is what it says.
type token struct {
	kind      tokenKind
	text      string
	value     uint32
	line, col int
}

// is reports whether the token is the given word, whatever its case, or mark.
func (t token) is(text string) bool {
	return t.kind == tokPunct && t.text == text || t.kind == tokWord && strings.EqualFold(t.text, text)
}

// String names the token in an error.
func (t token) String() string {
	if t.kind == tokEnd {
		return "the end of the text"
	}
	return strconv.Quote(t.text)
}

// scan splits text into tokens, the last of kind tokEnd. Comments are as in C,
// from ; to the end of a line, and whole lines that begin with #.
func scan(file, text string) ([]token, error) {
	var tokens []token
	line, start := 1, 0 // of the current line
	lineEnd := func(i int) int {
		if n := strings.IndexByte(text[i:], '\n'); n >= 0 {
			return i + n
		}
		return len(text)
	}
	for i := 0; i < len(text); {
		c := text[i]
		t := token{line: line, col: i - start + 1}
		fail := func(format string, args ...any) error {
			return &SyntaxError{file, t.line, t.col, fmt.Sprintf(format, args...)}
		}
		switch {
		case c == '\n':
			i++
			line, start = line+1, i
		case c == ' ' || c == '\t' || c == '\r':
			i++
		case c == ';' || c == '#' && i == start:
			i = lineEnd(i)
		case strings.HasPrefix(text[i:], "/*"):
			n := strings.Index(text[i+2:], "*/")
			if n < 0 {
				return nil, fail("comment without an end")
			}
			comment := text[i : i+2+n+2]
			if breaks := strings.Count(comment, "\n"); breaks > 0 {
				line += breaks
				start = i + strings.LastIndexByte(comment, '\n') + 1
			}
			i += len(comment)
		case wordByte(c):
			end := i
			for end < len(text) && wordByte(text[end]) {
				end++
			}
			t.kind, t.text = tokWord, text[i:end]
			if c >= '0' && c <= '9' {
				base := 0
				if n := len(tokens); n > 0 && tokens[n-1].is("(") {
					base = 10 // (008), an instruction's number
				}
				v, err := strconv.ParseUint(t.text, base, 32)
				if errors.Is(err, strconv.ErrRange) {
					return nil, fail("%s does not fit into 32 bits", t.text)
				} else if err != nil || strings.Contains(t.text, "_") {
					return nil, fail("%s is no number", t.text)
				}
				t.kind, t.value = tokNumber, uint32(v)
			}
			tokens = append(tokens, t)
			i = end
		case strings.IndexByte(":,#%[]()+-*&", c) >= 0:
			t.kind, t.text = tokPunct, text[i:i+1]
			tokens = append(tokens, t)
			i++
		default:
			r, _ := utf8.DecodeRuneInString(text[i:])
			return nil, fail("character %q has no meaning here", r)
		}
	}
	return append(tokens, token{kind: tokEnd, line: line, col: len(text) - start + 1}), nil
}

func wordByte(c byte) bool {
	return c == '_' || c == '.' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}
