package passing

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	"golang.org/x/sys/unix"

	"github.com/skep-bpf/skep/internal/mem"
)

// MaxFiles is how many files a message can have beside the manifest: what the kernel passes at once (SCM_MAX_FD).
const MaxFiles = 252

const (
	version     = 1
	maxManifest = 256 << 20
)

// Send sends a message. The files stay the caller's.
func Send(conn *net.UnixConn, manifest []byte, files []*os.File) error {
	if len(files) > MaxFiles {
		return fmt.Errorf("%d maps are more than the %d that one message takes", len(files), MaxFiles)
	}
	sealed, err := mem.NewSealed(manifest)
	if err != nil {
		return err
	}
	defer sealed.Close()
	first, err := sealed.Hand()
	if err != nil {
		return err
	}
	defer first.Close()
	fds := []int{int(first.Fd())}
	for _, f := range files {
		fds = append(fds, int(f.Fd()))
	}
	frame := binary.NativeEndian.AppendUint32([]byte("skep"), version)
	frame = binary.NativeEndian.AppendUint32(frame, uint32(len(fds)))
	frame = binary.NativeEndian.AppendUint32(frame, 0)
	n, _, err := conn.WriteMsgUnix(frame, unix.UnixRights(fds...), nil)
	if err == nil && n < len(frame) {
		_, err = conn.Write(frame[n:])
	}
	return err
}

// Receive receives a message. The files become the caller's. At the end of a stream the error is io.EOF.
func Receive(conn *net.UnixConn) (manifest []byte, files []*os.File, err error) {
	frame, files, err := receive(conn)
	defer func() {
		if err != nil {
			Close(files)
			files = nil
		}
	}()
	if err != nil {
		return nil, files, err
	}
	if string(frame[:4]) != "skep" || binary.NativeEndian.Uint32(frame[12:]) != 0 {
		return nil, files, ErrMessage
	}
	if v := binary.NativeEndian.Uint32(frame[4:]); v != version {
		return nil, files, fmt.Errorf("%w: it is in version %d of the form, this is version %d", ErrMessage, v, version)
	}
	if n := binary.NativeEndian.Uint32(frame[8:]); n == 0 || int(n) != len(files) {
		return nil, files, fmt.Errorf("%w: %d files came of %d", ErrMessage, len(files), n)
	}
	manifest, err = readManifest(files[0])
	files[0].Close()
	files = files[1:]
	return manifest, files, err
}

// receive reads 16 bytes and the files that come with the first of them.
func receive(conn *net.UnixConn) (frame []byte, files []*os.File, err error) {
	frame = make([]byte, 16)
	oob := make([]byte, unix.CmsgSpace((MaxFiles+1)*4))
	n, oobn, flags, _, err := conn.ReadMsgUnix(frame, oob)
	if errors.Is(err, io.EOF) {
		err = io.EOF
	}
	if err != nil {
		return nil, nil, err
	}
	files, err = rights(oob[:oobn])
	switch {
	case err != nil:
		return nil, files, err
	case flags&unix.MSG_CTRUNC != 0:
		return nil, files, fmt.Errorf("%w: some of its files did not arrive; this process may have too many open", ErrMessage)
	case n == 0 && len(files) == 0:
		return nil, files, io.EOF
	}
	if n < len(frame) {
		if _, err := io.ReadFull(conn, frame[n:]); err != nil {
			return nil, files, fmt.Errorf("%w: it is cut off: %w", ErrMessage, err)
		}
	}
	return frame, files, nil
}

// rights are the files that came with a message, also those before an error.
func rights(oob []byte) (files []*os.File, err error) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, err
	}
	for i := range messages {
		fds, e := unix.ParseUnixRights(&messages[i])
		if e != nil && !errors.Is(e, unix.EINVAL) { // EINVAL: another kind of message
			err = e
		}
		for _, fd := range fds {
			files = append(files, os.NewFile(uintptr(fd), "passed"))
		}
	}
	return files, err
}

// readManifest reads the first file, which must not change any more.
func readManifest(f *os.File) ([]byte, error) {
	s, err := mem.OpenShared(f)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMessage, err)
	}
	defer s.Close()
	if !s.Sealed() || s.Size() > maxManifest {
		return nil, fmt.Errorf("%w: its manifest is not sealed, or of %d bytes", ErrMessage, s.Size())
	}
	b := make([]byte, s.Size())
	if _, err := s.ReadAt(b, 0); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMessage, err)
	}
	return b, nil
}

// Close closes files.
func Close(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}
