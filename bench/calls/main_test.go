package main

import (
	"strings"
	"testing"
	"time"
)

// TestEveryWorkload measures every row, for a moment: all engines there are
// load it, run it, and agree on its verdict.
func TestEveryWorkload(t *testing.T) {
	t.Chdir("..")
	var out strings.Builder
	if err := run(&out, 1, 10*time.Microsecond, ""); err != nil {
		t.Fatal(err)
	}
	for _, w := range table {
		if strings.Count(out.String(), "| "+w.name+" ") != 2 {
			t.Errorf("no ratios or no times for %s in\n%s", w.name, out.String())
		}
	}
}

func TestRouteTable(t *testing.T) {
	routes, actions := routeTable()
	if len(routes) != routeCount || len(actions) != routeCount {
		t.Errorf("%d routes, %d actions", len(routes), len(actions))
	}
}
