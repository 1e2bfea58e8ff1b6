package main

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
)

// quicSalt is the initial salt of QUIC version 1 (RFC 9001 section 5.2).
var quicSalt = []byte{
	0x38, 0x76, 0x2c, 0xf7, 0xf5, 0x59, 0x34, 0xb3, 0x4d, 0x17,
	0x9a, 0xe6, 0xa4, 0xc8, 0x0c, 0xad, 0xcc, 0xbb, 0x7f, 0x0a,
}

// quicKeys are the client's Initial keys for a destination connection id.
type quicKeys struct{ key, iv, hp []byte }

// expandLabel is HKDF-Expand-Label of TLS 1.3 with an empty context (RFC 8446 section 7.1).
func expandLabel(secret []byte, label string, n int) []byte {
	label = "tls13 " + label
	info := binary.BigEndian.AppendUint16(nil, uint16(n))
	info = append(info, byte(len(label)))
	info = append(append(info, label...), 0)
	out, err := hkdf.Expand(sha256.New, secret, string(info), n)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return out
}

// newQUICKeys derives the client's Initial keys (RFC 9001 section 5.2).
func newQUICKeys(dcid []byte) quicKeys {
	initial, err := hkdf.Extract(sha256.New, dcid, quicSalt)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	client := expandLabel(initial, "client in", 32)
	return quicKeys{
		key: expandLabel(client, "quic key", 16),
		iv:  expandLabel(client, "quic iv", 12),
		hp:  expandLabel(client, "quic hp", 16),
	}
}

// quicInitial is a client's first flight: an Initial packet of 1,200 bytes that
// carries the ClientHello in a CRYPTO frame, protected as on the wire.
//
//	 first   version  dcid  scid  token  length  number  protected
//	┌───────┬────────┬─────┬─────┬──────┬───────┬───────┬─────────────────┐
//	│ 11000…│ 1      │ 8 B │ 8 B │ none │ 2 B   │ 4 B   │ frames │ tag 16 │
//	└───────┴────────┴─────┴─────┴──────┴───────┴───────┴─────────────────┘
func quicInitial(dcid, scid, hello []byte) []byte {
	const (
		datagram  = 1200 // RFC 9000 section 14.1: the least a client may send
		numberLen = 4
		tagLen    = 16
	)
	header := []byte{0xc0 | (numberLen - 1), 0, 0, 0, 1}
	header = append(append(header, byte(len(dcid))), dcid...)
	header = append(append(header, byte(len(scid))), scid...)
	header = append(header, 0) // no token
	rest := datagram - len(header) - 2
	header = binary.BigEndian.AppendUint16(header, 0x4000|uint16(rest))
	header = binary.BigEndian.AppendUint32(header, 0) // packet number

	frames := []byte{0x06, 0x00} // CRYPTO at offset 0
	frames = binary.BigEndian.AppendUint16(frames, 0x4000|uint16(len(hello)))
	frames = append(frames, hello...)
	frames = append(frames, make([]byte, rest-numberLen-tagLen-len(frames))...) // PADDING

	k := newQUICKeys(dcid)
	block, err := aes.NewCipher(k.key)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	out := aead.Seal(header, k.iv, frames, header) // packet number 0: the nonce is the IV itself

	// Header protection (RFC 9001 section 5.4): a mask sampled from the ciphertext.
	mask := make([]byte, aes.BlockSize)
	hp, err := aes.NewCipher(k.hp)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	number := len(header) - numberLen
	hp.Encrypt(mask, out[number+4:number+4+aes.BlockSize])
	out[0] ^= mask[0] & 0x0f
	for i := range numberLen {
		out[number+i] ^= mask[1+i]
	}
	return out
}

// clientHello is a TLS 1.3 ClientHello that asks for name (RFC 8446 section 4.1.2), without the record header.
func clientHello(name string) []byte {
	ext := func(typ uint16, body ...byte) []byte {
		b := binary.BigEndian.AppendUint16(nil, typ)
		b = binary.BigEndian.AppendUint16(b, uint16(len(body)))
		return append(b, body...)
	}
	sni := binary.BigEndian.AppendUint16(nil, uint16(len(name)+3))
	sni = binary.BigEndian.AppendUint16(append(sni, 0), uint16(len(name)))
	share := make([]byte, 32)
	for i := range share {
		share[i] = byte(i*7 + 1)
	}
	var exts []byte
	exts = append(exts, ext(0, append(sni, name...)...)...)                             // server_name
	exts = append(exts, ext(10, 0, 2, 0, 0x1d)...)                                      // supported_groups: x25519
	exts = append(exts, ext(13, 0, 2, 4, 3)...)                                         // signature_algorithms
	exts = append(exts, ext(43, 2, 3, 4)...)                                            // supported_versions: 1.3
	exts = append(exts, ext(51, append([]byte{0, 36, 0, 0x1d, 0, 32}, share...)...)...) // key_share
	exts = append(exts, ext(16, append([]byte{0, 3, 2}, "h3"...)...)...)                // ALPN
	body := append([]byte{3, 3}, make([]byte, 32)...)                                   // legacy version, random
	body = append(body, 0, 0, 2, 0x13, 0x01, 1, 0)                                      // no session, AES_128_GCM_SHA256
	body = append(binary.BigEndian.AppendUint16(body, uint16(len(exts))), exts...)      //
	return append([]byte{1, byte(len(body) >> 16), byte(len(body) >> 8), byte(len(body))}, body...)
}

// tlsRecord wraps a handshake message in a TLS record.
func tlsRecord(msg []byte) []byte {
	return append([]byte{22, 3, 1, byte(len(msg) >> 8), byte(len(msg))}, msg...)
}
