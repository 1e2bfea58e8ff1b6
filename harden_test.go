package skep

import "testing"

// A machine blinds what its option says, and says what options there are.
func TestHardenBlind(t *testing.T) {
	for _, c := range []struct {
		blind  int
		unpriv bool
		want   bool
	}{{0, false, false}, {0, true, false}, {1, false, false}, {1, true, true}, {2, false, true}, {2, true, true}} {
		m, err := NewMachine(&MachineOptions{Harden: Harden{Blind: c.blind}, Unprivileged: c.unpriv})
		if err != nil {
			t.Fatal(err)
		}
		if got := m.blind() != nil; got != (c.want && m.m.Native()) {
			t.Errorf("blind %d, unprivileged %v: %v, want %v", c.blind, c.unpriv, got, c.want)
		}
		m.Close()
	}
	if _, err := NewMachine(&MachineOptions{Harden: Harden{Blind: 3}}); err == nil {
		t.Error("there is no Blind 3")
	}
	if _, err := NewMachine(&MachineOptions{PerfMap: true, Harden: Harden{SealCode: true}}); err == nil {
		t.Error("anonymous memory is sealed")
	}
}

// With a seed, the numbers that hide constants repeat.
func TestBlindRepeats(t *testing.T) {
	seed := uint64(7)
	draw := func(o *MachineOptions) (n [4]uint32) {
		m, err := NewMachine(o)
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		for i := range n {
			n[i] = m.m.Secret()
		}
		return n
	}
	if a, b := draw(&MachineOptions{Seed: &seed}), draw(&MachineOptions{Seed: &seed}); a != b {
		t.Errorf("%v, then %v from one seed", a, b)
	}
	if a, b := draw(nil), draw(nil); a == b {
		t.Errorf("%v twice without a seed", a)
	}
}
