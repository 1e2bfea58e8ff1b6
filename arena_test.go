package skep_test

import (
	"math/bits"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/skep-bpf/skep"
	"github.com/skep-bpf/skep/internal/oracle"
)

// arenaSource has variables in an arena, one of which points at the other.
const arenaSource = `
#define SEC(name) __attribute__((section(name), used))
#define __arena __attribute__((address_space(1)))

struct {
	int (*type)[33]; /* BPF_MAP_TYPE_ARENA */
	int (*map_flags)[1 << 10];
	int (*max_entries)[10];
	enum { start = 1ull << 44 } map_extra;
} arena SEC(".maps");

int __arena counter = 5;
int __arena *__arena head;

SEC("xdp") int count(void *ctx)
{
	counter += 1;
	head = &counter;
	*head += 10;
	return counter;
}

char _license[] SEC("license") = "GPL";
`

// TestArena runs an object with variables in an arena: they have their first
// values, keep what a run leaves, and lead to each other.
func TestArena(t *testing.T) {
	if bits.UintSize == 32 {
		t.Skip("arenas need 64-bit addresses")
	}
	clang := oracle.Tool(t, "clang-19")
	dir := t.TempDir()
	src, obj := filepath.Join(dir, "arena.c"), filepath.Join(dir, "arena.o")
	if err := os.WriteFile(src, []byte(arenaSource), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(clang, "-O2", "-g", "-target", "bpf", "-mcpu=v4", "-c", src, "-o", obj).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	m, err := skep.NewMachine(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	coll, err := m.LoadCollectionFile(obj)
	if err != nil {
		t.Fatalf("%+v", err)
	}
	defer coll.Close()
	for _, want := range []uint32{16, 27} {
		got, _, err := coll.Programs["count"].Test(make([]byte, 64))
		if err != nil || got != want {
			t.Errorf("returned %d, %v; want %d", got, err, want)
		}
	}
}
