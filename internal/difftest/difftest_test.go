package difftest

import "testing"

func TestCases(t *testing.T) { RunFiles(t, "testdata/*.txtar") }
