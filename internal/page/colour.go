package page

import (
	"html"
	"html/template"
	"strings"
)

// words that are set apart in C and in instructions.
var (
	cWords = wordSet("break case char const continue default do double else enum extern float for goto if inline int " +
		"long register return short signed sizeof static struct switch typedef union unsigned void volatile while bool " +
		"__u8 __u16 __u32 __u64 __s8 __s16 __s32 __s64 __be16 __be32 __be64 u8 u16 u32 u64 s8 s16 s32 s64 " +
		"__always_inline NULL true false SEC")
	insnWords = wordSet("if goto call exit lock may_goto callx")
)

func wordSet(s string) map[string]bool {
	set := map[string]bool{}
	for w := range strings.FieldsSeq(s) {
		set[w] = true
	}
	return set
}

// colourC marks words, numbers, strings and comments of a line of C up as HTML.
func colourC(line string) template.HTML { return colour(line, cWords, false) }

// colourInsn does the same for an instruction, and for its registers.
func colourInsn(text string) template.HTML { return colour(text, insnWords, true) }

func colour(s string, words map[string]bool, registers bool) template.HTML {
	var b strings.Builder
	span := func(class, text string) {
		if class == "" {
			b.WriteString(html.EscapeString(text))
			return
		}
		b.WriteString(`<b class="` + class + `">` + html.EscapeString(text) + `</b>`)
	}
	for len(s) > 0 {
		n := 1
		switch c := s[0]; {
		case isWord(c):
			for n < len(s) && isWord(s[n]) {
				n++
			}
			class := ""
			switch w := s[:n]; {
			case words[w]:
				class = "k"
			case c >= '0' && c <= '9':
				class = "n"
			case registers && len(w) > 1 && (c == 'r' || c == 'w') && strings.Trim(w[1:], "0123456789") == "":
				class = "r"
			}
			span(class, s[:n])
		case c == '"' || c == '\'':
			for n < len(s) && s[n] != c {
				if s[n] == '\\' {
					n++
				}
				n++
			}
			n = min(n+1, len(s))
			span("s", s[:n])
		case !registers && strings.HasPrefix(s, "//"):
			n = len(s)
			span("c", s)
		case !registers && strings.HasPrefix(s, "/*"):
			if end := strings.Index(s, "*/"); end >= 0 {
				n = end + 2
			} else {
				n = len(s)
			}
			span("c", s[:n])
		default:
			for n < len(s) && !isWord(s[n]) && s[n] != '"' && s[n] != '\'' && s[n] != '/' {
				n++
			}
			span("", s[:n])
		}
		s = s[n:]
	}
	return template.HTML(b.String())
}

func isWord(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z'
}
