package corpus

import "testing"

func TestReason(t *testing.T) {
	if got := reason("0: r0 = 0\nR2 worse\nprocessed 1 insns (limit 1000000) …\n"); got != "R2 worse" {
		t.Errorf("reason %q", got)
	}
}
