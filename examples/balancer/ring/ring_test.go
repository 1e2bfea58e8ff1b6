package main

import (
	"bytes"
	"flag"
	"os"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the committed assignments")

func TestCommitted(t *testing.T) {
	const path = "../balancer.maps"
	var want bytes.Buffer
	write(&want)
	if *update {
		if err := os.WriteFile(path, want.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want.Bytes()) {
		t.Errorf("%s is not what the command writes: go run ./examples/balancer/ring > examples/balancer/balancer.maps", path)
	}
}

// TestConsistent checks what the ring is for: even shares, and a server's going
// moves hardly more than its own entries.
func TestConsistent(t *testing.T) {
	all, without := fill([]int{1, 2, 3, 4}), fill([]int{1, 2, 4})
	count, moved := map[int]int{}, 0
	for i, server := range all {
		count[server]++
		if server != 3 && without[i] != server {
			moved++
		}
	}
	for server := 1; server <= 4; server++ {
		if n := count[server]; n < size/4 || n > size/4+1 {
			t.Errorf("server %d has %d of %d entries", server, n, size)
		}
	}
	if moved > size/4 {
		t.Errorf("%d entries moved between servers that stayed", moved)
	}
}
