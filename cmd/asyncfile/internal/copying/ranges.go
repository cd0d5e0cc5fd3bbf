package copying

import "golang.org/x/sys/unix"

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
