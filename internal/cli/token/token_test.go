package token

import (
	"reflect"
	"testing"
)

func TestMounts(t *testing.T) {
	got := mountsOf(`bpf /sys/fs/bpf bpf rw,nosuid,mode=700 0 0
none /mnt/a\040b bpf rw,delegate_cmds=prog_load:map_create,delegate_progs=any 0 0
none /tmp tmpfs rw,delegate_cmds=any 0 0
`)
	want := []mount{{dir: "/mnt/a b", lists: [4][]string{{"prog_load", "map_create"}, nil, {"any"}, nil}}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%q", got)
	}
}
