package filter

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/skep-bpf/skep/internal/capture"
	"github.com/skep-bpf/skep/internal/cli/ui"
)

const captures = "../../../examples/captures"

// filtered runs the filter on data and returns what is written, or printed
// where out is "".
func filtered(t testing.TB, data []byte, expr, out string) (string, error) {
	t.Helper()
	var stdout, stderr strings.Builder
	o := Options{Expr: expr, Inputs: []string{"-"}, Out: out, Snaplen: maxSnaplen}
	err := run(context.Background(), ui.New(bytes.NewReader(data), &stdout, &stderr), &o)
	if out == "" || out == "-" {
		return stdout.String(), err
	}
	written, rerr := os.ReadFile(out)
	if rerr != nil && err == nil {
		t.Fatal(rerr)
	}
	return string(written), err
}

func TestEveryCaptureIsReadAsPackageCaptureDoes(t *testing.T) {
	files, err := filepath.Glob(captures + "/*.pcap*")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, name := range files {
		in, err := open(name, nil)
		if err != nil {
			t.Fatal(err)
		}
		want, err := capture.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		var r record
		for n := 0; ; n++ {
			p, werr := want.Next()
			err := in.next(&r)
			for err == nil && r.data == nil {
				err = in.next(&r)
			}
			if (err == nil) != (werr == nil) || errors.Is(err, io.EOF) != errors.Is(werr, io.EOF) {
				t.Fatalf("%s: packet %d: %v, want %v", name, n, err, werr)
			}
			if err != nil {
				break
			}
			sec, nsec := in.source.time(&r)
			if !bytes.Equal(r.data, p.Data) || r.wire != p.Length || uint32(p.LinkType) != r.link || !p.Time.Equal(time.Unix(sec, nsec)) {
				t.Fatalf("%s: packet %d: %+v, want %+v", name, n, r, p)
			}
		}
		in.close()
		want.Close()
	}
}

// bigEndian is a big-endian pcap file with nanoseconds and two packets.
func bigEndian() []byte {
	b := binary.BigEndian.AppendUint32(nil, magicNano)
	b = append(b, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 1)
	for _, typ := range []byte{0, 6} {
		for _, v := range []uint32{1, 999_999_999, 60, 60} {
			b = binary.BigEndian.AppendUint32(b, v)
		}
		b = append(append(b, make([]byte, 12)...), 8, typ)
		b = append(b, make([]byte, 46)...)
	}
	return b
}

func TestOrderAndUnitsAreKept(t *testing.T) {
	in := bigEndian()
	out := filepath.Join(t.TempDir(), "out")
	got, err := filtered(t, in, "arp", out)
	if err != nil || got != string(in[:pcapHeader])+string(in[len(in)-pcapRecord-60:]) {
		t.Errorf("% x, %v", got, err)
	}
	// Of another order and unit, records are made anew.
	web, err := os.ReadFile(captures + "/dns.pcap")
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Inputs: []string{"-", captures + "/dns.pcap"}, Out: out, Snaplen: maxSnaplen}
	if err := run(context.Background(), ui.New(bytes.NewReader(in), io.Discard, io.Discard), &o); err != nil {
		t.Fatal(err)
	}
	joined, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	if len(joined) != len(in)+len(web)-pcapHeader {
		t.Errorf("%d bytes, want %d", len(joined), len(in)+len(web)-pcapHeader)
	}
	r, err := capture.NewReader("joined", bytes.NewReader(joined))
	if err != nil {
		t.Fatal(err)
	}
	packets := 0
	for {
		if _, err := r.Next(); err != nil {
			if !errors.Is(err, io.EOF) {
				t.Error(err)
			}
			break
		}
		packets++
	}
	if packets != 20 {
		t.Errorf("%d packets, want 20", packets)
	}
}

func TestRotation(t *testing.T) {
	r := &rotation{size: 100, files: 12}
	names := []string{r.path("f")}
	for n := range 14 {
		turn, err := r.due(5, 101)
		if err != nil || turn != (n > 0) { // the first packet never turns
			t.Fatal(n, turn, err)
		}
		if turn {
			names = append(names, r.path("f"))
		}
	}
	if want := []string{"f00", "f01", "f02"}; !slices.Equal(names[:3], want) || names[12] != "f00" {
		t.Errorf("%q", names)
	}
	r = &rotation{every: 10, files: 2}
	for _, c := range []struct {
		sec  int64
		turn bool
		err  error
	}{{100, false, nil}, {109, false, nil}, {110, true, nil}, {135, false, errEnough}} {
		turn, err := r.due(c.sec, 0)
		if turn != c.turn || !errors.Is(err, c.err) {
			t.Errorf("second %d: %v, %v", c.sec, turn, err)
		}
		if c.turn || c.sec == 100 {
			r.path("f")
		}
	}
	at := time.Date(2024, 2, 3, 4, 5, 6, 0, time.UTC)
	if got := strftime("%Y%m%d-%H%M%S.%%.%q.%s%", at); got != "20240203-040506.%.%q.1706933106%" {
		t.Error(got)
	}
	for text, want := range map[string]int64{"1": 1_000_000, "2k": 2048, "3M": 3 << 20, "1g": 1 << 30, "": 0, "0": 0, "-1": 0, "x": 0, "9999999999999999999": 0} {
		if got, err := parseSize(text); got != want || (err == nil) != (want > 0) {
			t.Errorf("-C %q: %d, %v", text, got, err)
		}
	}
}

// FuzzRead reads foreign bytes: whatever they are, all packets before a fault
// come, and what is written of them can be read again.
func FuzzRead(f *testing.F) {
	for _, name := range []string{"mixed.pcapng", "dns.pcap"} {
		data, err := os.ReadFile(filepath.Join(captures, name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
		f.Add(data[:len(data)-5])
	}
	f.Add(bigEndian())
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 1<<16 {
			return
		}
		filtered(t, data, "", "")
		out := filepath.Join(t.TempDir(), "out")
		first, err := filtered(t, data, "", out)
		var bad *inputError
		if err != nil && !errors.As(err, &bad) {
			return
		}
		again, err := filtered(t, []byte(first), "", out)
		if err != nil && len(first) > 0 {
			t.Fatalf("what was written cannot be read: %v", err)
		}
		if again != first {
			t.Fatalf("% x\nbecame % x", first, again)
		}
	})
}
