// Package digest computes checksums of many files at once, and reads and writes them as
// sha256sum(1) does.
package digest

import (
	"context"
	"crypto/sha256"
	"errors"
	"hash"
	"hash/crc32"
	"io"
	"os"
	"runtime"
	"sync"

	"github.com/zeebo/blake3"
	"github.com/zeebo/xxh3"

	"github.com/seed-39be8cca/asyncfile"
	"github.com/seed-39be8cca/asyncfile/cmd/asyncfile/internal/pagecache"
)

// An Algorithm is a checksum.
type Algorithm struct {
	Name string // "sha256"
	Tag  string // "SHA256", of lines in BSD's form
	Size int    // bytes
	New  func() hash.Hash
}

// Algorithms returns those that there are. The first is the default.
func Algorithms() []Algorithm {
	return []Algorithm{
		{"sha256", "SHA256", sha256.Size, sha256.New},
		{"blake3", "BLAKE3", 32, func() hash.Hash { return blake3.New() }},
		{"xxh3", "XXH3", 8, func() hash.Hash { return xxh3.New() }},
		{"crc32c", "CRC32C", 4, func() hash.Hash { return crc32.New(crc32.MakeTable(crc32.Castagnoli)) }},
	}
}

// ByName returns the algorithm of a name or a tag.
func ByName(name string) (Algorithm, bool) {
	for _, a := range Algorithms() {
		if a.Name == name || a.Tag == name {
			return a, true
		}
	}
	return Algorithm{}, false
}

// A File is one to be summed.
type File struct {
	Name      string // "-" is In
	Algorithm Algorithm
	In        io.Reader
}

// A Sum is the result of one file.
type Sum struct {
	File
	Digest []byte
	Bytes  int64
	Err    error
}

const (
	block = 256 << 10 // bytes of one read
	ahead = 8         // reads in flight of a large file
	large = 4 << 20   // bytes: is read so, unless the page cache has it
)

// All computes the sums of files, several at once, and passes them to each in the order of
// files. It stops with ctx, and when each returns false; atOnce is how many files are
// read together, 0 for twice the processors.
func All(ctx context.Context, files func(yield func(File) bool), atOnce int, each func(Sum) bool) {
	if atOnce == 0 {
		atOnce = max(2*runtime.GOMAXPROCS(0), 4)
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	type job struct {
		file File
		sum  chan Sum
	}
	jobs := make(chan job, atOnce)
	order := make(chan job, 16*atOnce) // sums that wait for their turn
	var workers sync.WaitGroup
	for range atOnce {
		workers.Go(func() {
			buf := make([]byte, block)
			for j := range jobs {
				j.sum <- sumOf(ctx, j.file, buf)
			}
		})
	}
	workers.Go(func() {
		defer close(order)
		defer close(jobs)
		for f := range files {
			j := job{f, make(chan Sum, 1)}
			select {
			case order <- j:
			case <-ctx.Done():
				return
			}
			jobs <- j
		}
	})
	defer workers.Wait()
	for j := range order {
		if s := <-j.sum; ctx.Err() != nil || !each(s) {
			stop()
		}
	}
}

// errDirectory is what sha256sum says of one.
var errDirectory = errors.New("is a directory")

// sumOf computes one sum.
func sumOf(ctx context.Context, f File, buf []byte) (s Sum) {
	s.File = f
	in, err := open(f)
	if err != nil {
		s.Err = err
		return s
	}
	h := f.Algorithm.New()
	for err == nil {
		var n int
		n, err = in.Read(buf)
		h.Write(buf[:n])
		s.Bytes += int64(n)
		if err == nil && ctx.Err() != nil {
			err = context.Cause(ctx)
		}
	}
	if err == io.EOF {
		s.Digest, err = h.Sum(nil), nil
	}
	s.Err = errors.Join(err, in.Close())
	return s
}

// open returns what is to be read of a file: with several reads in flight and past the page
// cache, where the file is large and not there.
func open(f File) (io.ReadCloser, error) {
	if f.Name == "-" {
		return io.NopCloser(f.In), nil
	}
	file, err := os.Open(f.Name)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	switch {
	case err == nil && info.IsDir():
		err = &os.PathError{Op: "sum", Path: f.Name, Err: errDirectory}
	case err == nil && info.Mode().IsRegular() && info.Size() >= large && !pagecache.Holds(file, info.Size()):
		return newStream(file)
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}

// A stream is a large file that is read ahead.
type stream struct {
	*asyncfile.Reader
	file *asyncfile.AsyncFile
}

func newStream(file *os.File) (io.ReadCloser, error) {
	f, err := asyncfile.New(file, asyncfile.WithDirect(asyncfile.DirectPrefer))
	if err != nil {
		file.Close()
		return nil, err
	}
	r, err := asyncfile.NewReader(f, 0, asyncfile.WithBlockSize(block), asyncfile.WithStreamDepth(ahead))
	if err != nil {
		f.Close()
		return nil, err
	}
	return &stream{r, f}, nil
}

// Close waits for the reads in flight, and closes the file.
func (s *stream) Close() error { return errors.Join(s.Reader.Close(), s.file.Close()) }
