package verify_test

import (
	"fmt"

	"github.com/skep-bpf/skep/verify"
)

// A test of one's own program asserts where it loads and what it costs.
func Example() {
	r, err := verify.Load("../examples/loops/loops.o", nil)
	if err != nil {
		panic(err)
	}
	fmt.Println("on 5.10:", r.LoadsOn("5.10"))
	for _, p := range r.Programs {
		k, _ := verify.ParseKernel("5.10")
		if v := p.On(k); !v.OK() {
			fmt.Printf("%s: %v, needed at %v\n", p.Name, v.Missing, v.Missing.Place)
		}
		if p.Budget() > 0.6 {
			fmt.Println(p.Name, "uses up more than 60 % of the verifier's budget")
		}
	}
	// Output:
	// on 5.10: false
	// looped: helper bpf_xdp_load_bytes, since 5.18 (3f364222d032), needed at loops.c:53
}
