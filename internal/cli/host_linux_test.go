package cli

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestHostDevices: a server in a network namespace makes a TAP device there and taps
// an interface, and what the kernel sends comes to the machine's devices.
func TestHostDevices(t *testing.T) {
	k := newIproute2(t)
	dir := t.TempDir()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	bin, sock := filepath.Join(dir, "skep"), filepath.Join(dir, "machine")
	if err := os.Symlink(exe, bin); err != nil { // TestMain goes by the name
		t.Fatal(err)
	}
	t.Setenv("SKEP_MACHINE", sock)
	server := exec.Command(bin, "serve", sock)
	said, err := server.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	k.do(func() { err = server.Start() })
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		server.Process.Signal(syscall.SIGTERM)
		if err := server.Wait(); err != nil {
			t.Error(err)
		}
	}()
	if _, err := said.Read(make([]byte, 200)); err != nil { // it listens
		t.Fatal(err)
	}
	run := func(line string) string {
		t.Helper()
		words := strings.Fields(strings.Replace(line, "skep ", bin+" ", 1))
		out, errs, ok := k.run(words...)
		if !ok {
			t.Fatalf("%s: %s", line, errs)
		}
		return out
	}
	rx := func(name string) int {
		var all []struct {
			Stats struct{ RX struct{ Packets int } } `json:"stats64"`
		}
		if err := json.NewDecoder(bytes.NewReader([]byte(run("skep ip -j -s link show dev " + name)))).Decode(&all); err != nil || len(all) != 1 {
			t.Fatal(all, err)
		}
		return all[0].Stats.RX.Packets
	}
	run("skep ip link add t0 type tap dev host0")
	run("skep ip link set t0 xdp obj testdata/iproute/progs.o sec xdp")
	run("skep ip link set t0 up")
	run("ip link add name v0 type veth peer name v1")
	run("skep ip link add w0 type packet dev v1")
	run("skep ip link set w0 up")
	if out := run("skep ip -d link show"); !strings.Contains(out, "tap dev host0") || !strings.Contains(out, "packet dev v1 ro") {
		t.Error(out)
	}
	for _, dev := range []string{"host0", "v0", "v1"} {
		run("ip link set dev " + dev + " up") // which lets neighbours know
	}
	run("ip address add 192.0.2.1/24 dev host0")
	run("ip address add 198.51.100.1/24 dev v0")
	for _, at := range []struct{ dev, to string }{{"t0", "192.0.2.2"}, {"w0", "198.51.100.2"}} {
		for rx(at.dev) == 0 {
			k.run("bash", "-c", "echo > /dev/udp/"+at.to+"/9") // asks for the neighbour
		}
	}
	if _, errs, ok := k.run(bin, "ip", "link", "add", "w1", "type", "packet", "dev", "nosuch"); ok || !strings.Contains(errs, "nosuch") {
		t.Errorf("an interface that is not there: %s", errs)
	}
	run("skep ip link del t0")
	if _, _, ok := k.run("ip", "link", "show", "host0"); ok {
		t.Error("the TAP device is left")
	}
}
