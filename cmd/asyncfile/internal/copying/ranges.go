package copying

import (
	"os"

	"golang.org/x/sys/unix"
)

// ranges calls each with the ranges that hold data, from off on, in order; all of it where
// the file is not sparse. The holes are counted.
func (j *job) ranges(sparse bool, each func(off, end int64) error) error {
	if !sparse {
		return each(j.from, j.size)
	}
	fd := int(j.in.Fd())
	for off := j.from; off < j.size; {
		begin, err := unix.Seek(fd, off, unix.SEEK_DATA)
		switch {
		case err == unix.ENXIO: // a hole up to the end
			begin = j.size
		case err != nil: // no such thing here
			return each(off, j.size)
		}
		begin = min(begin, j.size)
		if begin > off {
			j.total.Holes.Add(begin - off)
			j.Progress(begin - off)
		}
		if begin == j.size {
			break
		}
		end, err := unix.Seek(fd, begin, unix.SEEK_HOLE)
		if err != nil {
			return pathError("lseek", j.src, err)
		}
		off = min(end, j.size)
		if err := each(begin, off); err != nil {
			return err
		}
	}
	return nil
}

// cached reports whether most of the source is in the page cache: then there is no device
// to keep busy.
func (j *job) cached() bool {
	var stat unix.Cachestat_t
	pages := (j.size + int64(os.Getpagesize()) - 1) / int64(os.Getpagesize())
	whole := unix.CachestatRange{Len: uint64(j.size)}
	if unix.Cachestat(uint(j.in.Fd()), &whole, &stat, 0) == nil { // Linux 6.5
		return int64(stat.Cache) > pages/2
	}
	hits := 0
	const samples = 16
	for i := range int64(samples) {
		buf := make([]byte, 1)
		if n, err := unix.Preadv2(int(j.in.Fd()), [][]byte{buf}, j.size/samples*i, unix.RWF_NOWAIT); err == nil && n == 1 {
			hits++
		}
	}
	return hits > samples/2
}
