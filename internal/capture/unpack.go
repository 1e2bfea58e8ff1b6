package capture

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"io"

	"github.com/klauspost/compress/zstd"
)

var (
	magicGzip = []byte{0x1f, 0x8b}
	magicZstd = []byte{0x28, 0xb5, 0x2f, 0xfd}
)

// maxWindow bounds what a Zstandard frame may ask to be remembered, in bytes;
// zstd itself wants --long from 128 MiB on.
const maxWindow = 128 << 20

// unpacked returns the stream behind gzip or Zstandard, or br itself when it is plain.
func (r *Reader) unpacked(br *bufio.Reader) (*bufio.Reader, error) {
	head, _ := br.Peek(4)
	var plain io.Reader
	switch {
	case bytes.HasPrefix(head, magicGzip):
		z, err := gzip.NewReader(br)
		if err != nil {
			return nil, err
		}
		plain, r.unpack = z, z
	case bytes.HasPrefix(head, magicZstd):
		z, err := zstd.NewReader(br, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, err
		}
		c := z.IOReadCloser()
		plain, r.unpack = c, c
	default:
		return br, nil
	}
	r.packed = true
	return bufio.NewReaderSize(plain, bufferSize), nil
}
