package rtnl

import (
	"bytes"
	"io"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// TestRecords: what is written is read, and has room before it.
func TestRecords(t *testing.T) {
	all := []Record{
		{Time: time.Unix(1700000000, 123456789), Length: 1514, Ifindex: 7, Protocol: 0x86dd, VLANTPID: 0x88a8, VLANTCI: 0x6005,
			Type: 4, Addr: [6]byte{2, 0, 0, 0, 0, 9}, Dropped: 1 << 40, Data: []byte("a packet")},
		{Time: time.Unix(1, 0), Data: bytes.Repeat([]byte{7}, 70000)},
		{Time: time.Unix(2, 0), End: true, Data: []byte{}},
	}
	var b []byte
	for i := range all {
		b = all[i].append(b)
	}
	rr := NewRecordReader(bytes.NewReader(b))
	for i := range all {
		got, err := rr.Next()
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(all[i], got, cmpopts.IgnoreUnexported(Record{})); d != "" {
			t.Errorf("record %d: -want +got\n%s", i, d)
		}
		if r := got.Room(20); len(r) != 20+len(got.Data) || !bytes.Equal(r[20:], got.Data) {
			t.Errorf("record %d: %d bytes with room", i, len(r))
		}
	}
	if _, err := rr.Next(); err != io.EOF {
		t.Errorf("behind the last: %v", err)
	}
}

func FuzzRecords(f *testing.F) {
	f.Add((&Record{Length: 3, Data: []byte{1, 2, 3}}).append(nil))
	f.Add((&Record{End: true}).append(nil)[:recordHeader-1])
	f.Fuzz(func(t *testing.T, b []byte) {
		rr := NewRecordReader(bytes.NewReader(b))
		for {
			r, err := rr.Next()
			if err != nil {
				return
			}
			if len(r.Room(recordHeader)) != recordHeader+len(r.Data) {
				t.Error("a record without room")
			}
		}
	})
}
