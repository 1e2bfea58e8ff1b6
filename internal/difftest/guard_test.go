package difftest

import (
	"errors"
	"testing"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/oracle"
	"github.com/skep-bpf/skep/internal/verifier"
	"github.com/skep-bpf/skep/isa"
)

// Programs that are guarded against speculation mean what they did: of all
// cases, those that a loader with CAP_BPF alone may load, on the checked
// interpreter and as native code. So do arithmetic on pointers in every form
// that has a mask.
func TestGuardedPrograms(t *testing.T) {
	cases, err := Load("testdata/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	ran, masks, barriers := 0, 0, 0
	for _, e := range []ours{{checked: true, unpriv: true}, {native: true, inline: true, unpriv: true}} {
		t.Run(e.Name(), func(t *testing.T) {
			oracle.Need(t, e.Name(), e.Available())
			for _, c := range cases {
				if c.Part || c.Refused != "" {
					continue
				}
				o, err := e.Run(c)
				if r := (*Refusal)(nil); errors.As(err, &r) {
					continue // these rules refuse more
				}
				if err != nil {
					t.Errorf("%s: %v", c.Name, err)
					continue
				}
				if err := c.Check(o); err != nil {
					t.Errorf("%s: %v", c.Name, err)
				}
				o.Close()
				ran++
				m, b := guards(t, c)
				masks, barriers = masks+m, barriers+b
			}
		})
	}
	if ran == 0 || masks == 0 || barriers == 0 {
		t.Errorf("%d cases ran, with %d masks and %d barriers", ran, masks, barriers)
	}
}

// guards counts what the verifier asks for in a case's program.
func guards(t *testing.T, c *Case) (masks, barriers int) {
	defs := c.Maps
	vp := &verifier.Program{
		Name: "difftest", Type: c.Type, Attach: c.Attach, Flags: c.Flags, Insns: c.Insns, GPL: true,
		MapByFD:  func(int32) *catalog.MapDef { return nil },
		MapByIdx: func(i int32) *catalog.MapDef { return &defs[i].Def },
	}
	res, err := verifier.Verify(vp, verifier.Options{CPUs: cpus, Unprivileged: true, CapBPF: true})
	if err != nil {
		return 0, 0 // needs types of its functions
	}
	for i, f := range res.Insns {
		if f.Mask.Kind != 0 {
			masks++
		}
		if c := c.Insns[i].Op.Class(); f.Nospec || f.NospecResult && (c == isa.ClassST || c == isa.ClassSTX) {
			barriers++
		}
	}
	return masks, barriers
}
