package measure

import (
	"strings"
	"testing"
	"time"
)

func TestInterleaved(t *testing.T) {
	var order []string
	contender := func(name string, each time.Duration) Contender {
		return func(n int) (time.Duration, error) {
			order = append(order, name)
			return each * time.Duration(n), nil
		}
	}
	times, err := Interleaved([]Contender{contender("a", time.Microsecond), nil, contender("b", 4*time.Microsecond)}, 3, time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	if times[1] != nil || len(times[0]) != 3 || times[0][1] != 1000 {
		t.Errorf("times: %v", times)
	}
	if got := strings.Join(order[len(order)-6:], ""); got != "ababab" {
		t.Errorf("rounds ran in the order %s", got)
	}
	if r := Ratio(times[0], times[2]); r != 0.25 {
		t.Errorf("ratio %v, want 0.25", r)
	}
}

func TestRatioIsOfRounds(t *testing.T) {
	// The machine is three times as slow in the second round; the ratio stays.
	if r := Ratio([]float64{1, 3, 1}, []float64{2, 6, 2}); r != 0.5 {
		t.Errorf("ratio %v, want 0.5", r)
	}
}

func TestTable(t *testing.T) {
	table := Table{Head: []string{"name", "a ÷ b"}}
	table.Add("x|y", "0.50")
	var b strings.Builder
	if err := table.Write(&b); err != nil {
		t.Fatal(err)
	}
	want := "| name | a ÷ b |\n|------|------:|\n| x\\|y |  0.50 |\n\n"
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}
