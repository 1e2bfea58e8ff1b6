package isa

import (
	"strings"
	"unicode/utf8"
)

// token is a word of assembly text.
type token struct {
	kind tokenKind
	text string
	pos  int // byte offset in its line
}

type tokenKind uint8

const (
	tokEnd    tokenKind = iota // of the line
	tokWord                    // a name, keyword or register
	tokNumber                  // digits, or 0x…; not yet read
	tokMark                    // operator or bracket
)

// marks are the operators of more than one character, longest first.
var marks = []string{
	"s>>=", "<<=", ">>=", "s>=", "s<=", "s/=", "s%=",
	"+=", "-=", "*=", "/=", "|=", "&=", "%=", "^=", "==", "!=", ">=", "<=", "s>", "s<",
}

// scan cuts a line into tokens and drops its comment, which begins with ';',
// '//', or a '#' that does not cling to a word (call bpf_map_lookup_elem#1).
// Every character ends up in some token: the parser judges them.
func scan(line string) (tokens []token) {
	for i := 0; i < len(line); {
		rest := line[i:]
		n, kind := 1, tokMark
		switch c := line[i]; {
		case c == ' ' || c == '\t' || c == '\r':
			i++
			continue
		case c == ';' || strings.HasPrefix(rest, "//") || c == '#' && (i == 0 || !isWordByte(line[i-1])):
			return append(tokens, token{tokEnd, "", i})
		case isDigit(c):
			n, kind = wordLen(rest), tokNumber
		case longMark(rest) > 0:
			n = longMark(rest)
		case isWordByte(c):
			n, kind = wordLen(rest), tokWord
		default:
			_, n = utf8.DecodeRuneInString(rest)
		}
		tokens = append(tokens, token{kind, rest[:n], i})
		i += n
	}
	return append(tokens, token{tokEnd, "", len(line)})
}

func longMark(s string) int {
	for _, m := range marks {
		if strings.HasPrefix(s, m) {
			return len(m)
		}
	}
	return 0
}

func wordLen(s string) int {
	n := 1
	for n < len(s) && isWordByte(s[n]) {
		n++
	}
	return n
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func isWordByte(c byte) bool {
	return isDigit(c) || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '_' || c == '.' || c == '$'
}
