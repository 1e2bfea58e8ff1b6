package catalog

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/skep-bpf/skep/internal/oracle"
)

// Records are laid out as the live kernel says.
func TestEventFormats(t *testing.T) {
	for i := range Events {
		e := &Events[i]
		want, err := os.ReadFile("/sys/kernel/tracing/events/" + e.Group + "/" + e.Name + "/format")
		oracle.Need(t, "tracefs", err)
		var id uint64
		if _, err := fmt.Sscanf(strings.SplitN(string(want), "\n", 3)[1], "ID: %d", &id); err != nil {
			t.Fatal(err)
		}
		if got := e.Format(id); got != string(want) {
			t.Errorf("%s:\n%s\nlinux:\n%s", e.Name, got, want)
		}
	}
}
