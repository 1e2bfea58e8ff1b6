package filter

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// rotation says when one file is full and what the next is called, as tcpdump's
// -C, -G and -W do.
type rotation struct {
	size  int64 // bytes after which a file is full, 0 for any
	every int64 // seconds a file covers, 0 for any
	files int   // with size: names that are used in turn; with every: how many files there will be

	n     int   // of the current file, in the row of names
	made  int   // files begun
	start int64 // when the current file began, in seconds since 1970
	begun bool
}

// errEnough ends a run without complaint.
var errEnough = errors.New("enough")

// due reports whether a packet of that second goes into another file than the
// one with size bytes. Files of a capture turn by the packets' own clock.
func (r *rotation) due(sec, size int64) (bool, error) {
	if !r.begun {
		r.begun, r.start = true, sec
		return false, nil
	}
	if r.every > 0 && sec-r.start >= r.every {
		if r.files > 0 && r.size == 0 && r.made >= r.files {
			return false, errEnough
		}
		r.start = sec - (sec-r.start)%r.every
		r.n = 0
		return true, nil
	}
	if r.size > 0 && size > r.size {
		if r.n++; r.files > 0 && r.every == 0 {
			r.n %= r.files
		}
		return true, nil
	}
	return false, nil
}

// path is the name of the file that begins: strftime's for times, then a number
// from the second file on, of as many digits as the last one has.
func (r *rotation) path(name string) string {
	r.made++
	if r.every > 0 {
		at := time.Now()
		if r.begun {
			at = time.Unix(r.start, 0)
		}
		name = strftime(name, at)
	}
	switch {
	case r.size > 0 && r.files > 0:
		return fmt.Sprintf("%s%0*d", name, len(strconv.Itoa(r.files-1)), r.n)
	case r.size > 0 && r.n > 0:
		return name + strconv.Itoa(r.n)
	}
	return name
}

// conversions of strftime(3), as layouts of package time.
var conversions = map[byte]string{
	'Y': "2006", 'y': "06", 'm': "01", 'd': "02", 'H': "15", 'M': "04", 'S': "05", 'I': "03", 'p': "PM",
	'F': "2006-01-02", 'T': "15:04:05", 'R': "15:04", 'D': "01/02/06",
	'a': "Mon", 'A': "Monday", 'b': "Jan", 'B': "January", 'e': "_2", 'j': "002", 'z': "-0700", 'Z': "MST",
}

// strftime puts a time into a name.
func strftime(name string, at time.Time) string {
	var b strings.Builder
	for i := 0; i < len(name); i++ {
		if name[i] != '%' || i+1 == len(name) {
			b.WriteByte(name[i])
			continue
		}
		i++
		switch layout, ok := conversions[name[i]]; {
		case ok:
			b.WriteString(at.Format(layout))
		case name[i] == 's':
			b.WriteString(strconv.FormatInt(at.Unix(), 10))
		case name[i] == '%':
			b.WriteByte('%')
		default:
			b.WriteString(name[i-1 : i+1])
		}
	}
	return b.String()
}

// parseSize reads -C's argument: millions of bytes, or with k, m or g behind it
// units of 1024.
func parseSize(text string) (int64, error) {
	unit := int64(1_000_000)
	digits := text
	if n := len(text) - 1; n >= 0 {
		if u, ok := map[byte]int64{'k': 1 << 10, 'm': 1 << 20, 'g': 1 << 30}[text[n]|0x20]; ok {
			unit, digits = u, text[:n]
		}
	}
	v, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || v <= 0 || v > (1<<62)/unit {
		return 0, fmt.Errorf("%q is no file size: a number of millions of bytes, or one with k, m or g", text)
	}
	return v * unit, nil
}
