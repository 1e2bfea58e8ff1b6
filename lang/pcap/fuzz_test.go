package pcap

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/skep-bpf/skep/classic"
)

// FuzzCompile compiles any text: what is refused is refused with a position in
// it, what is not is a program libpcap's machine takes, and traced or not, the
// optimiser ends.
func FuzzCompile(f *testing.F) {
	for i, e := range everyday {
		f.Add(e, uint16(1), i%2 == 0)
	}
	g := generator{Rand: rand.New(rand.NewPCG(1, 5))}
	for range 300 {
		q := g.query(comparedLinks())
		f.Add(q.expr, uint16(q.link), q.opts.NoOptimize)
		f.Add(g.garble(q.expr), uint16(q.link), q.opts.NoOptimize)
	}
	f.Fuzz(func(t *testing.T, expr string, link uint16, raw bool) {
		if len(expr) > 2000 {
			return
		}
		prog, err := CompileProgram(expr, LinkType(link%300), 65535, &Options{NoOptimize: raw, Resolver: fewNames{}})
		if err != nil {
			var e *Error
			if !errors.As(err, &e) || e.Kind == nil || e.Pos < 0 || e.Pos > len(expr) || e.End > len(expr) || e.Expr != expr {
				t.Fatalf("%#v", err)
			}
			if e.Error() == "" || strings.Count(e.Caret(), "\n") != 1 {
				t.Fatalf("%q: %q", e.Error(), e.Caret())
			}
			return
		}
		if err := classic.Check(prog, classic.Libpcap); err != nil && !errors.Is(err, classic.ErrLength) {
			t.Fatal(err)
		}
	})
}

// FuzzScan scans any text: tokens follow one another, and end.
func FuzzScan(f *testing.F) {
	f.Add("1:2:3:4:5:6:7:8 ::ffff:1.2.3.4 aa-bb-cc-dd-ee-ff 0x1f $2a \\host tcp-syn <<=>!==")
	f.Fuzz(func(t *testing.T, src string) {
		s := scanner{src: src}
		end := int32(0)
		for {
			tok := s.next()
			if tok.pos < end || tok.end < tok.pos || int(tok.end) > len(src) {
				t.Fatalf("token at %d:%d after %d", tok.pos, tok.end, end)
			}
			if tok.kind == kEOF {
				return
			}
			if tok.end == tok.pos {
				t.Fatalf("empty token at %d", tok.pos)
			}
			end = tok.end
		}
	})
}
