package asyncfile

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// exportedTypes are all types of the package that a program can name. Those that
// only a function can make are of no use as zero values, and say so.
var exportedTypes = map[string]struct {
	of    reflect.Type
	useOf bool // of the zero value
}{
	"AsyncFile":      {of: reflect.TypeFor[AsyncFile]()},
	"File":           {of: reflect.TypeFor[File]()},
	"Future":         {of: reflect.TypeFor[Future]()},
	"Queue":          {of: reflect.TypeFor[Queue]()},
	"Ring":           {of: reflect.TypeFor[Ring]()},
	"Reader":         {of: reflect.TypeFor[Reader]()},
	"Writer":         {of: reflect.TypeFor[Writer]()},
	"ReaderAt":       {of: reflect.TypeFor[ReaderAt]()},
	"BufferPool":     {reflect.TypeFor[BufferPool](), true},
	"AlignmentError": {reflect.TypeFor[AlignmentError](), true},
	"StreamError":    {reflect.TypeFor[StreamError](), true},
	"Completion":     {reflect.TypeFor[Completion](), true},
	"Op":             {reflect.TypeFor[Op](), true},
	"OpKind":         {reflect.TypeFor[OpKind](), true},
	"Backend":        {reflect.TypeFor[Backend](), true},
	"WaitMode":       {reflect.TypeFor[WaitMode](), true},
	"DirectMode":     {reflect.TypeFor[DirectMode](), true},
	"Stats":          {reflect.TypeFor[Stats](), true},
	"Option":         {reflect.TypeFor[Option](), true},
	"StreamOption":   {reflect.TypeFor[StreamOption](), true},
	"ReadManyOption": {reflect.TypeFor[ReadManyOption](), true},
	"Range":          {reflect.TypeFor[Range](), true},
	"Chunk":          {reflect.TypeFor[Chunk](), true},
}

// TestExportedTypes has the list above complete.
func TestExportedTypes(t *testing.T) {
	declared := map[string]bool{}
	for _, file := range parseSources(t) {
		for _, decl := range file.Decls {
			if d, ok := decl.(*ast.GenDecl); ok && d.Tok == token.TYPE {
				for _, spec := range d.Specs {
					declared[spec.(*ast.TypeSpec).Name.Name] = true
				}
			}
		}
	}
	for name := range declared {
		if _, ok := exportedTypes[name]; ast.IsExported(name) && !ok {
			t.Errorf("exportedTypes has no %s", name)
		}
	}
	for name := range exportedTypes {
		if !declared[name] {
			t.Errorf("the package has no %s", name)
		}
	}
}

// parseSources returns the files of the package, tests left out.
func parseSources(t *testing.T) (files []*ast.File) {
	t.Helper()
	names, err := fs.Glob(os.DirFS("."), "*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	return files
}

// TestNoReceiver calls every method of every type on nil and on the zero value,
// with zero arguments. None crashes; none waits for ever, which the bubble would
// see; and where the zero value is of no use every error is os.ErrInvalid, every
// Future is done with it, and every channel is closed.
func TestNoReceiver(t *testing.T) {
	for name, typ := range exportedTypes {
		pointer := reflect.PointerTo(typ.of)
		for i := range pointer.NumMethod() {
			method := pointer.Method(i)
			if method.Name == "Format" {
				continue // only fmt calls it: see TestStrings
			}
			t.Run(name+"."+method.Name, func(t *testing.T) {
				receivers := map[string]reflect.Value{"zero": reflect.New(typ.of), "nil": reflect.Zero(pointer)}
				_, ofValue := typ.of.MethodByName(method.Name) // a call on nil is a dereference of the caller's
				if ofValue || pointer.Implements(reflect.TypeFor[error]()) {
					delete(receivers, "nil") // nor has anyone a nil error's methods in hand
				}
				for which, receiver := range receivers {
					synctest.Test(t, func(t *testing.T) {
						defer func() {
							if r := recover(); r != nil && !(name == "File" && osPanics(method.Name)) {
								t.Errorf("%s receiver: panic: %v", which, r)
							}
						}()
						in := []reflect.Value{receiver}
						for k := 1; k < method.Type.NumIn(); k++ {
							if k < method.Type.NumIn()-1 || !method.Type.IsVariadic() {
								in = append(in, reflect.Zero(method.Type.In(k)))
							}
						}
						for _, out := range method.Func.Call(in) {
							if !typ.useOf {
								wantNothing(t, which, out)
							}
						}
					})
				}
			})
		}
	}
}

// osPanics reports whether the method of a nil os.File panics.
func osPanics(name string) (yes bool) {
	defer func() { yes = recover() != nil }()
	method := reflect.ValueOf((*os.File)(nil)).MethodByName(name)
	if method.IsValid() && method.Type().NumIn() == 0 {
		method.Call(nil)
	}
	return false
}

// wantNothing checks one result of a method of nothing.
func wantNothing(t *testing.T, which string, out reflect.Value) {
	t.Helper()
	switch v := out.Interface().(type) {
	case *Future:
		if _, err := v.Wait(); !errors.Is(err, os.ErrInvalid) {
			t.Errorf("%s receiver: a Future with %v", which, err)
		}
	case error:
		if !errors.Is(v, os.ErrInvalid) {
			t.Errorf("%s receiver: %v", which, v)
		}
	default:
		switch {
		case out.Type() == reflect.TypeFor[error]():
			t.Errorf("%s receiver: no error", which)
		case out.Kind() == reflect.Chan:
			if _, ok := out.Recv(); ok {
				t.Errorf("%s receiver: the channel has something", which)
			}
		}
	}
}

// TestNoFuture has Futures that nothing made among the arguments of the waits.
func TestNoFuture(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var failed *Future // as of a struct that was never filled
		done := newFuture()
		done.resolve(1, nil, 0)
		for _, none := range []*Future{failed, {}} {
			if n, err := none.Wait(); n != 0 || !errors.Is(err, os.ErrInvalid) {
				t.Errorf("Wait: %d, %v", n, err)
			}
			if n, err := none.WaitContext(t.Context()); n != 0 || !errors.Is(err, os.ErrInvalid) {
				t.Errorf("WaitContext: %d, %v", n, err)
			}
			if _, err, ok := none.Result(); !ok || !errors.Is(err, os.ErrInvalid) {
				t.Errorf("Result: %v, %v", err, ok)
			}
			if err := WaitAll(done, none, done); !errors.Is(err, os.ErrInvalid) {
				t.Errorf("WaitAll: %v", err)
			}
			if i, err := WaitAny(t.Context(), newFuture(), none, done); i != 1 || !errors.Is(err, os.ErrInvalid) {
				t.Errorf("WaitAny: %d, %v", i, err)
			}
		}
	})
}

// TestNoFile hands no file to what takes one.
func TestNoFile(t *testing.T) {
	q := NewQueue(1)
	defer closeQueue(t, q)
	for _, f := range []*AsyncFile{nil, {}} {
		for i, future := range f.Submit(Op{}, Op{Kind: OpWrite}, Op{Kind: 99}) {
			if n, err := future.Wait(); n != 0 || !errors.Is(err, os.ErrInvalid) {
				t.Errorf("Submit %d: %d, %v", i, n, err)
			}
		}
		if err := q.Submit(f, Op{}, nil); !errors.Is(err, os.ErrInvalid) {
			t.Errorf("Queue.Submit: %v", err)
		}
		if _, err := NewReader(f, 0); !errors.Is(err, os.ErrInvalid) {
			t.Errorf("NewReader: %v", err)
		}
		if _, err := NewWriter(f, 0); !errors.Is(err, os.ErrInvalid) {
			t.Errorf("NewWriter: %v", err)
		}
	}
	file := openTest(t, putFile(t, testPattern(10, 1)), os.O_RDWR)
	for _, none := range []*File{nil, {}} {
		if n, err := file.File().ReadFrom(none); n != 0 || !errors.Is(err, os.ErrInvalid) {
			t.Errorf("ReadFrom of no file: %d, %v", n, err)
		}
		if n, err := file.File().WriteTo(none); n != 0 || !errors.Is(err, os.ErrInvalid) {
			t.Errorf("WriteTo to no file: %d, %v", n, err)
		}
	}
}

// eachRoute runs test for each way that a file's operations go, with a Ring of
// the test's, which test may close.
func eachRoute(t *testing.T, test func(t *testing.T, ring *Ring, opts ...Option)) {
	for _, backend := range []Backend{BackendAIO, BackendPool} {
		for _, direct := range []DirectMode{DirectOff, DirectRequire} {
			t.Run(backend.String()+"/direct "+direct.String(), func(t *testing.T) {
				if direct == DirectRequire {
					needDirect(t)
				}
				newTestRing(t, WithBackend(backend)) // or skip
				ring, err := NewRing(WithBackend(backend))
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { ring.Close() })
				test(t, ring, WithRing(ring), WithBackend(backend), WithDirect(direct))
			})
		}
	}
}

// transfers are the calls of a File, a Reader and a Writer that move data, or
// commit it.
var transfers = map[string]func(f *File) (int64, error){
	"Read":        func(f *File) (int64, error) { n, err := f.Read(AlignedBuffer(testBlock)); return int64(n), err },
	"Read none":   func(f *File) (int64, error) { n, err := f.Read(nil); return int64(n), err },
	"ReadAt":      func(f *File) (int64, error) { n, err := f.ReadAt(AlignedBuffer(testBlock), 0); return int64(n), err },
	"ReadAt -1":   func(f *File) (int64, error) { n, err := f.ReadAt(make([]byte, 1), -1); return int64(n), err },
	"Write":       func(f *File) (int64, error) { n, err := f.Write(AlignedBuffer(testBlock)); return int64(n), err },
	"WriteAt":     func(f *File) (int64, error) { n, err := f.WriteAt(AlignedBuffer(testBlock), 0); return int64(n), err },
	"WriteString": func(f *File) (int64, error) { n, err := f.WriteString("x"); return int64(n), err },
	"Sync":        func(f *File) (int64, error) { return 0, f.Sync() },
	"ReadFrom":    func(f *File) (int64, error) { return f.ReadFrom(strings.NewReader("x")) },
	"WriteTo":     func(f *File) (int64, error) { return f.WriteTo(io.Discard) },
	"Reader": func(f *File) (int64, error) {
		r, err := NewReader(f.Async(), 0)
		if err != nil {
			return 0, err
		}
		defer r.Close()
		n, err := r.Read(make([]byte, 1))
		return int64(n), err
	},
	"Writer": func(f *File) (int64, error) {
		w, err := NewWriter(f.Async(), 0)
		if err != nil {
			return 0, err
		}
		w.Write(make([]byte, 1))
		return 0, w.Close()
	},
}

// TestClosedRing has one answer of everything that transfers, whether the page
// cache has it or not and whether the Ring would have been asked or not, and leaves
// the file open.
func TestClosedRing(t *testing.T) {
	eachRoute(t, func(t *testing.T, ring *Ring, opts ...Option) {
		f := openTest(t, putFile(t, testPattern(2*testBlock, 1)), os.O_RDWR, opts...)
		v := f.File()
		wantResult(t, f.ReadAt(AlignedBuffer(testBlock), 0), testBlock, nil) // and cached
		if f.Ring() != ring {
			t.Fatal("the file is on another Ring")
		}
		if err := ring.Close(); err != nil {
			t.Fatal(err)
		}
		check := func(what string, n int64, err error) {
			t.Helper()
			var pe *fs.PathError
			if n != 0 || !errors.Is(err, fs.ErrClosed) || !errors.As(err, &pe) || pe.Path != f.Name() ||
				!strings.Contains(err.Error(), "the Ring is closed") {
				t.Errorf("%s: %d, %v", what, n, err)
			}
		}
		q := NewQueue(1)
		defer closeQueue(t, q)
		p := AlignedBuffer(testBlock)
		for kind := range OpDatasync + 2 {
			for _, op := range []Op{{Kind: kind}, {Kind: kind, Buf: p}, {Kind: kind, Bufs: [][]byte{p}}, {Kind: kind, Buf: p, Offset: -1}} {
				n, err := f.Submit(op)[0].Wait()
				check(fmt.Sprint("Submit ", op), int64(n), err)
				if err := q.Submit(f, op, nil); err != nil {
					t.Fatal(err)
				}
				c := <-q.C()
				check(fmt.Sprint("Queue ", op), int64(c.N), c.Err)
			}
		}
		for _, deadline := range []time.Time{{}, time.Now().Add(time.Hour), time.Unix(1, 0)} {
			if err := v.SetDeadline(deadline); err != nil {
				t.Fatal(err)
			}
			for what, call := range transfers {
				n, err := call(v)
				check(what, n, err)
			}
		}
		v.SetDeadline(time.Time{})
		if _, err := v.Stat(); err != nil {
			t.Error(err)
		}
		if err := f.Truncate(testBlock); err != nil {
			t.Error(err)
		}
		if err := f.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		for what, call := range transfers { // the file comes first
			if _, err := call(v); err == nil || strings.Contains(err.Error(), "the Ring is closed") {
				t.Errorf("%s on a closed file: %v", what, err)
			}
		}
	})
}

// TestCloseOfOthersRing has files keep their Ring when somebody tries to close it.
func TestCloseOfOthersRing(t *testing.T) {
	name := putFile(t, testPattern(testBlock, 1))
	for what, opts := range map[string][]Option{
		"shared, pool": {WithBackend(BackendPool)},
		"shared, auto": {WithDirect(DirectPrefer)},
		"private":      {WithQueueDepth(4)},
	} {
		f := openTest(t, name, os.O_RDONLY, opts...)
		ring := f.Ring()
		before := ring.Stats().Submitted
		if err := ring.Close(); !errors.Is(err, os.ErrInvalid) {
			t.Errorf("%s: Close = %v", what, err)
		}
		wantResult(t, f.ReadAt(AlignedBuffer(testBlock), 0), testBlock, nil)
		if ring.Stats().Submitted <= before {
			t.Errorf("%s: the Stats do not count", what)
		}
	}
}

// TestPipesOfRing has pipes that nobody reads fill every slot and every worker
// that they can get: files on the Ring that was given for all of them go on.
func TestPipesOfRing(t *testing.T) {
	t.Setenv("ASYNCFILE_BACKEND", "")
	for _, backend := range []Backend{BackendAIO, BackendPool} {
		t.Run(backend.String(), func(t *testing.T) {
			ring := newTestRing(t, WithBackend(backend), WithQueueDepth(2), WithWorkers(1))
			file := openTest(t, putFile(t, testPattern(testBlock, 1)), os.O_RDWR, WithRing(ring))
			var ends []*os.File
			var appends []*Future
			for range 3 {
				r, w, err := os.Pipe()
				if err != nil {
					t.Fatal(err)
				}
				f, err := New(w, WithRing(ring))
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { f.Close() })
				if f.Ring() == ring {
					t.Error("a pipe is on the Ring of files")
				}
				appends = append(appends, f.Append(make([]byte, 1<<20)))
				ends = append(ends, r)
			}
			wantResult(t, file.ReadAt(make([]byte, testBlock), 0), testBlock, nil)
			wantResult(t, file.WriteAt(make([]byte, testBlock), 0), testBlock, nil)
			wantResult(t, file.Sync(), 0, nil)
			if n := ring.Stats().InFlight; n != 0 {
				t.Errorf("%d slots of the Ring are in use", n)
			}
			for i, r := range ends {
				if _, _, ok := appends[i].Result(); ok {
					t.Error("an Append to a pipe that nobody reads has ended")
				}
				r.Close()
				if _, err := appends[i].Wait(); !errors.Is(err, syscall.EPIPE) {
					t.Errorf("Append to a pipe: %v", err)
				}
			}
		})
	}
}
