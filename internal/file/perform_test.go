package file

import (
	"errors"
	"os"
	"syscall"
	"testing"
)

// TestAppendNowhere appends where lseek(2) fails afterwards, for which a pipe stands in.
// An Append that cannot say where its data went does not succeed, unless the file has
// no such place.
func TestAppendNowhere(t *testing.T) {
	for _, seekless := range []bool{false, true} {
		for _, own := range []bool{false, true} {
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			f := &Handle{osf: w, Traits: Traits{Seekless: seekless}}
			f.Cursor.osf = w
			to := w
			if !own { // the companion
				f.osf = r
			}
			o := &operation{file: f, op: Op{Kind: Append, Buf: []byte("data")}}
			o.cursor = o.op.cursor()
			if err := appendTo(to, o); (err == nil) != seekless || err != nil && !errors.Is(err, syscall.ESPIPE) {
				t.Errorf("seekless %v, own descriptor %v: %v", seekless, own, err)
			}
			r.Close()
			w.Close()
		}
	}
}
