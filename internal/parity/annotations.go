package main

import (
	"strconv"
	"strings"

	"github.com/skep-bpf/skep/internal/corpus"
)

// annotations are what the kernel's selftests say of their programs, in
// declaration tags of their functions.
type annotations struct {
	flags    map[string]uint32   // load flags
	messages map[string][]string // words the log is to have
}

func readAnnotations(o *corpus.Object) *annotations {
	a := newAnnotations()
	for _, p := range o.Image.Programs {
		if len(p.Funcs) > 0 {
			a.annotate(p.Name, p.Funcs[0].Func.Tags)
		}
	}
	return a
}

func newAnnotations() *annotations {
	return &annotations{flags: map[string]uint32{}, messages: map[string][]string{}}
}

// testFlags are the load flags that annotations name.
var testFlags = map[string]uint32{
	"BPF_F_STRICT_ALIGNMENT": 1 << 0, "BPF_F_ANY_ALIGNMENT": 1 << 1, "BPF_F_TEST_RND_HI32": 1 << 2,
	"BPF_F_TEST_STATE_FREQ": 1 << 3, "BPF_F_SLEEPABLE": 1 << 4, "BPF_F_XDP_HAS_FRAGS": 1 << 5,
	"BPF_F_TEST_REG_INVARIANTS": 1 << 7,
}

// Flags that the kernel's own loader of these programs gives to all of them.
const loaderFlags = 1<<2 | 1<<7

// annotate reads what the declaration tags of a program say: its load flags,
// and the words the privileged log is to have.
func (a *annotations) annotate(prog string, tags []string) {
	flags := uint32(loaderFlags)
	for _, tag := range tags {
		// A number keeps equal tags apart: here, or before the words.
		tag = strings.TrimLeft(strings.TrimPrefix(tag, "comment:"), "0123456789:")
		key, val, _ := strings.Cut(tag, "=")
		switch key {
		case "test_prog_flags":
			val, off := strings.CutPrefix(val, "!")
			bits, known := testFlags[val]
			if !known {
				n, _ := strconv.ParseUint(val, 0, 32)
				bits = uint32(n)
			}
			if off {
				flags &^= bits
			} else {
				flags |= bits
			}
		case "test_expect_msg":
			if n, words, ok := strings.Cut(val, "="); ok && strings.Trim(n, "0123456789") == "" {
				val = words
			}
			a.messages[prog] = append(a.messages[prog], val)
		}
	}
	a.flags[prog] = flags
}
