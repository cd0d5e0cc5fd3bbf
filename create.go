package asyncfile

import (
	"io"
	"os"
	"slices"
)

// CreateTemp creates a new file in dir, with a name made of pattern, for reading
// and writing, as os.CreateTemp does. Whoever calls it removes the file.
func CreateTemp(dir, pattern string, opts ...Option) (*AsyncFile, error) {
	if _, err := newConfig(opts); err != nil {
		return nil, err // before there is a file to be removed
	}
	osf, err := os.CreateTemp(dir, pattern)
	if err != nil {
		return nil, err
	}
	f, err := New(osf, opts...)
	if err != nil {
		osf.Close()
		os.Remove(osf.Name())
		return nil, err
	}
	return f, nil
}

// ReadFile reads the named file and returns its contents, as os.ReadFile does,
// with several reads in flight.
func ReadFile(name string, opts ...Option) ([]byte, error) {
	f, err := Open(name, opts...)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.readAll()
}

// readAll reads the whole file. Files that do not tell their size, as those of
// /proc, are read to their end.
func (f *AsyncFile) readAll() ([]byte, error) {
	if f.core.Seekless { // a pipe, say
		return io.ReadAll(f.File())
	}
	const minRead = 512                                   // a file of /proc may not work right in smaller pieces
	size := int(f.core.Size())                            // once: others may write to the file
	data := slices.Grow([]byte(nil), size+minRead)[:size] // with room to meet the end
	var reads []*Future
	for off := 0; off < len(data); off += defaultBlockSize {
		reads = append(reads, f.ReadAt(data[off:min(off+defaultBlockSize, len(data))], int64(off)))
	}
	n := 0
	for _, read := range reads {
		m, err := read.Wait()
		n += m
		if err != nil {
			WaitAll(reads...) // the buffer is about to be the caller's
			if err == io.EOF {
				err = nil
			}
			return data[:n], err
		}
	}
	for {
		data = slices.Grow(data, minRead)
		// Not through io_submit, which has EINVAL for some files of /proc.
		m, err := f.File().ReadAt(data[len(data):cap(data)], int64(len(data)))
		data = data[:len(data)+m]
		if err == io.EOF {
			return data, nil
		}
		if err != nil {
			return data, err
		}
	}
}

// WriteFile writes data to the named file, which it creates with mode perm, or
// truncates, as os.WriteFile does.
func WriteFile(name string, data []byte, perm os.FileMode, opts ...Option) error {
	f, err := OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, perm, opts...)
	if err != nil {
		return err
	}
	_, err = f.File().Write(data)
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	return err
}
