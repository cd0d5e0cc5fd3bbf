package asyncfile

import (
	"io/fs"
	"os"
)

// DirFS returns a file system, an fs.FS, of the tree at dir, as os.DirFS does,
// whose files are Files, opened with opts. An option that shapes a Ring would make
// one for each file that is opened: give one with WithRing instead. It implements fs.ReadDirFS,
// fs.ReadFileFS, fs.StatFS and fs.ReadLinkFS. Like os.DirFS it keeps to names
// inside dir, but follows the symbolic links there.
func DirFS(dir string, opts ...Option) fs.FS {
	return &dirFS{os.DirFS(dir).(osDirFS), opts}
}

// osDirFS is what os.DirFS says that it implements.
type osDirFS interface {
	fs.FS
	fs.ReadDirFS
	fs.ReadFileFS
	fs.StatFS
	fs.ReadLinkFS
}

// A dirFS leaves names, directories and links to os.DirFS, errors included.
type dirFS struct {
	osDirFS
	opts []Option
}

// Open opens the named file. It is a *File.
func (d *dirFS) Open(name string) (fs.File, error) {
	file, err := d.osDirFS.Open(name)
	if err != nil {
		return nil, err
	}
	f, err := d.adopt(name, file)
	if err != nil {
		return nil, err
	}
	return f.File(), nil
}

// adopt makes an AsyncFile of what os.DirFS opened.
func (d *dirFS) adopt(name string, file fs.File) (*AsyncFile, error) {
	f, err := New(file.(*os.File), d.opts...)
	if err != nil {
		file.Close()
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return f, nil
}

// ReadFile reads the named file.
func (d *dirFS) ReadFile(name string) ([]byte, error) {
	file, err := d.osDirFS.Open(name)
	if err != nil {
		return d.osDirFS.ReadFile(name) // fails as well, with its own error
	}
	f, err := d.adopt(name, file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := f.readAll()
	if err != nil {
		if pe, ok := err.(*fs.PathError); ok {
			pe.Path = name // the name inside the tree, as os.DirFS has it
		}
		return nil, err
	}
	return data, nil
}
