package pcap

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// What an expression can be refused for; test with errors.Is.
var (
	// ErrSyntax: the expression is not one of the language.
	ErrSyntax = errors.New("syntax error")
	// ErrMeaning: it is, but means nothing: a name that is not known, a
	// qualifier that does not apply, a number out of range.
	ErrMeaning = errors.New("expression has no meaning")
	// ErrLinkType: it has no meaning on packets of this link type.
	ErrLinkType = errors.New("not for this link type")
	// ErrRejectsAll: no packet can match it.
	ErrRejectsAll = errors.New("expression rejects all packets")
	// ErrTooComplex: it needs more registers, nesting or code than there is.
	ErrTooComplex = errors.New("expression is too complex")
)

// Error says what is wrong with an expression, and where.
type Error struct {
	Kind     error  // one of the sentinels above
	Expr     string // the whole expression
	Pos, End int    // Expr[Pos:End] is the spot
	Msg      string // in libpcap's words, where it has a message for it
	Expected string // what could have stood there, or empty
}

// syntaxError is the message where there is none better.
const syntaxError = "syntax error"

func newError(k error, pos, end int32, format string, args ...any) *Error {
	msg := format
	if len(args) > 0 {
		msg = fmt.Sprintf(format, args...)
	}
	return &Error{Kind: k, Pos: int(pos), End: int(end), Msg: msg}
}

// Error returns one line.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("filter expression: ")
	b.WriteString(e.Msg)
	switch spot := e.spot(); {
	case spot == "" && e.Kind == ErrSyntax:
		b.WriteString(" at the end")
	case spot != "" && (e.Msg == syntaxError || !strings.Contains(e.Msg, spot)):
		fmt.Fprintf(&b, " at %q", spot)
	}
	if e.Expected != "" {
		b.WriteString(": expected " + e.Expected)
	}
	return b.String()
}

// characterEnd is where the character ends that the byte before end is part of.
func characterEnd(text string, end int) int {
	for end < len(text) && !utf8.RuneStart(text[end]) {
		end++
	}
	return end
}

// spot returns the text the error is about, shortened.
func (e *Error) spot() string {
	if e.Pos >= e.End || e.End > len(e.Expr) {
		return ""
	}
	// Errors are of bytes, people read characters.
	s := e.Expr[e.Pos:characterEnd(e.Expr, e.End)]
	if len(s) > 40 {
		s = s[:characterEnd(s, 40)]
	}
	return s
}

// Unwrap returns the sentinel.
func (e *Error) Unwrap() error { return e.Kind }

// Format prints, for %+v, the caret below the one line.
func (e *Error) Format(s fmt.State, verb rune) {
	fmt.Fprint(s, e.Error())
	if verb == 'v' && s.Flag('+') {
		fmt.Fprint(s, "\n", e.Caret())
	}
}

// Caret returns the expression and, below, a caret at the spot:
//
//	tcp port 80 and and udp
//	                ^^^
func (e *Error) Caret() string {
	const margin = 60 // of a long expression, as much is shown on either side
	expr, pos, end := e.Expr, min(e.Pos, len(e.Expr)), min(e.End, len(e.Expr))
	if end-pos > margin {
		end = pos + margin
	}
	if end+margin < len(expr) {
		expr = expr[:end+margin] + " …"
	}
	if pos > margin {
		cut := pos - margin
		expr = "… " + expr[cut:]
		pos, end = pos-cut+len("… "), end-cut+len("… ")
	}
	var b strings.Builder
	under := func(s string, c byte) string {
		var u strings.Builder
		for _, r := range s {
			if r == '\t' {
				u.WriteByte('\t')
			} else {
				u.WriteByte(c)
			}
		}
		return u.String()
	}
	line := strings.NewReplacer("\n", " ", "\r", " ").Replace(expr)
	b.WriteString(line)
	b.WriteByte('\n')
	b.WriteString(under(line[:pos], ' '))
	if carets := under(line[pos:end], '^'); carets != "" {
		b.WriteString(carets)
	} else {
		b.WriteByte('^')
	}
	return b.String()
}
