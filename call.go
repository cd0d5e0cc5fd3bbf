package asyncfile

import (
	"context"
	"errors"
	"sync/atomic"
)

// ErrGoexit is the error of a function given to Ring.Go, or to Call, that ended its
// goroutine (runtime.Goexit, which testing.T.FailNow calls) instead of returning.
var ErrGoexit = errors.New("asyncfile: the function ended its goroutine and returned nothing")

// Go has a worker of the Ring run fn, and returns a Future of its results: for what
// blocks and is no operation of an open file, such as open(2), stat(2), unlink(2) or
// rename(2). The Future's Offset is 0.
//
// At most WithWorkers functions of a Ring run at once, in the order of the calls;
// the others wait, and Go itself never does. Their workers are apart from those of
// file operations, neither of which waits for the other. fn may use files of the Ring,
// but must not wait for another function of it, which may be queued behind fn, nor
// close it.
//
// Ring.Close waits for what was given to Go before. On a closed Ring the error
// answers errors.Is for fs.ErrClosed, and fn is not run; on a Ring that nothing made,
// and where fn is nil, for os.ErrInvalid. Other errors are those of fn, as they are.
// A panic in fn ends the process, as in any goroutine; runtime.Goexit gives
// ErrGoexit. A wait that is given up (WaitContext) does not end fn: where its result
// has to be closed use Call.
func (r *Ring) Go(fn func() (int, error)) *Future {
	f := newFuture()
	err := errNoRing
	switch {
	case fn == nil:
		err = invalid("Ring.Go(nil): pass a function")
	case r.made():
		err = r.core.Go(&called{ring: r, fn: fn, future: f})
	}
	if err != nil {
		f.resolve(0, err, 0)
	}
	return f
}

// A called is a function that a worker runs, for workers.Job.
type called struct {
	ring   *Ring
	fn     func() (int, error)
	future *Future
}

// Run runs the function. A panic goes on from here.
func (c *called) Run() {
	n, err := 0, ErrGoexit
	defer func() {
		c.ring.calls.Add(1)
		c.future.resolve(n, err, 0)
	}()
	n, err = c.fn()
}

// Call runs fn as Ring.Go does, and waits for it, but no longer than ctx lives. Where
// ctx ends first a result without an error goes to drop instead, on the worker, as soon
// as there is one: a file that fn has opened for nobody is closed. A fn that has not begun
// by then does not run any more. drop may be nil.
//
//	f, err := asyncfile.Call(ctx, ring, func() (*os.File, error) { return os.Open(name) },
//		func(f *os.File) { f.Close() })
//
// An error of a ctx that ended answers errors.Is for both ErrAbandoned and ctx.Err();
// others are those of Ring.Go.
func Call[T any](ctx context.Context, r *Ring, fn func() (T, error), drop func(T)) (T, error) {
	var (
		result, none T
		taken        atomic.Bool // by whoever is first: fn for the caller, or ctx
	)
	if fn == nil {
		return none, invalid("Call: pass a function")
	}
	future := r.Go(func() (int, error) {
		if taken.Load() {
			return 0, ErrAbandoned
		}
		v, err := fn()
		if err == nil {
			result = v
		}
		if !taken.CompareAndSwap(false, true) && err == nil && drop != nil {
			drop(v)
		}
		return 0, err
	})
	_, err := future.WaitContext(ctx)
	if errors.Is(err, ErrAbandoned) && ctx.Err() != nil {
		if taken.CompareAndSwap(false, true) {
			return none, err
		}
		_, err = future.Wait() // fn has returned
	}
	if err != nil {
		return none, err
	}
	return result, nil
}
