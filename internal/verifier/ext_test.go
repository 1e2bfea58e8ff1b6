package verifier_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/verifier"
)

// targetText is a program with functions to replace.
const targetText = `prog: sched_cls
func main: global (skb)
func add_seven: global (skb, int)
func put_bytes: global (skb)
func kept: static (skb)

main:
r6 = r1
r2 = 7
call add_seven
r1 = r6
call put_bytes
r1 = r6
call kept
r0 = 0
exit
add_seven:
r0 = r2
exit
put_bytes:
r2 = 0
r3 = r10
r3 += -8
*(u64 *)(r10 - 8) = 0
r4 = 8
r5 = 0
call bpf_skb_store_bytes
exit
kept:
r0 = 0
exit
`

// TestExt verifies programs that replace functions of another. The running
// kernel need not permit any, so their verdicts are those its sources give.
func TestExt(t *testing.T) {
	target := parseCase(t, txtar.File{Name: "target", Data: []byte(targetText)})
	res, err := verifier.Verify(&target.prog, verifier.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, to, text, want string }{
		{"the same prototype", "add_seven", "func f: global (skb, int)\n\nf:\nr0 = *(u32 *)(r1 + 0)\nr0 += r2\nexit\n", ""},
		{"helpers of the target's type", "add_seven", "func f: global (skb, int)\n\nf:\nr2 = 0\ncall bpf_skb_vlan_push\nr0 = 0\nexit\n", "Extension program changes packet data, while original does not"},
		{"a packet changed where it was", "put_bytes", "func f: global (skb)\n\nf:\nr2 = 0\nr3 = 0\ncall bpf_skb_vlan_push\nr0 = 0\nexit\n", ""},
		{"helpers of other types", "add_seven", "func f: global (skb, int)\n\nf:\nr2 = 0\ncall bpf_xdp_adjust_head\nr0 = 0\nexit\n", "program of this type cannot use helper bpf_xdp_adjust_head#44"},
		{"arguments are not all the context", "add_seven", "func f: global (skb, int)\n\nf:\nr0 = *(u32 *)(r2 + 0)\nexit\n", "R2 invalid mem access 'scalar'"},
		{"another number of arguments", "add_seven", "func f: global (skb)\n\nf:\nr0 = 0\nexit\n", "f() has 1 args while add_seven() has 2 args"},
		{"another kind of argument", "add_seven", "func f: global (skb, skb)\n\nf:\nr0 = 0\nexit\n", "arg1 in f() is PTR while add_seven() has INT"},
		{"another struct", "put_bytes", "func f: global (xdp)\n\nf:\nr0 = 0\nexit\n", "arg0 f(struct xdp_md *) doesn't match put_bytes(struct __sk_buff *)"},
		{"a static function", "kept", "func f: global (skb)\n\nf:\nr0 = 0\nexit\n", "kept() is not a global function"},
		{"by a static function", "put_bytes", "func f: static (skb)\n\nf:\nr0 = 0\nexit\n", "f() is not a global function"},
		{"no such function", "none", "func f: global (skb)\n\nf:\nr0 = 0\nexit\n", "Subprog none doesn't exist"},
		{"the main program", "main", "func f: global (skb)\n\nf:\nr0 = 2\nexit\n", ""},
		{"without BTF", "put_bytes", "\nr0 = 0\nexit\n", "Program extension requires BTF"},
		{"sleepable", "put_bytes", "flags: 16\nfunc f: global (skb)\n\nf:\nr0 = 0\nexit\n", "Only fentry/fexit/fmod_ret, lsm, iter, uprobe, and struct_ops programs can be sleepable"},
	} {
		t.Run(c.name, func(t *testing.T) {
			ext := parseCase(t, txtar.File{Name: c.name, Data: []byte("prog: ext\n" + c.text)})
			ext.prog.Target = verifier.TargetOf(&target.prog, res)
			ext.prog.AttachTo = c.to
			_, err := verifier.Verify(&ext.prog, verifier.Options{})
			if c.want == "" {
				if err != nil {
					t.Errorf("%+v", err)
				}
				return
			}
			var ve *verifier.Error
			if !errors.As(err, &ve) || ve.Msg != c.want {
				t.Errorf("got %v, want %s", err, c.want)
			}
			if ext.prog.Type != catalog.ProgExt {
				t.Error("the program was changed")
			}
		})
	}
	alone := parseCase(t, txtar.File{Name: "alone", Data: []byte("prog: ext\nto: add_seven\n\nr0 = 0\nexit\n")})
	if _, err := verifier.Verify(&alone.prog, verifier.Options{}); !errors.Is(err, errno.EINVAL) || !strings.Contains(err.Error(), "Cannot replace kernel functions") {
		t.Errorf("without a target: %v", err)
	}
}
