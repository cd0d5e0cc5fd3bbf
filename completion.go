package asyncfile

// A Completion is the outcome of one operation of a Queue.
type Completion struct {
	Op     OpKind     // what was done
	File   *AsyncFile // to which file
	Buf    []byte     // as submitted; the caller's again
	Offset int64      // in bytes, where the operation began
	N      int        // bytes transferred
	Err    error      // as of os.File: not nil where N is less than was asked
	Tag    any        // as submitted
}
