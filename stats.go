package asyncfile

import "time"

// Stats counts what a Ring has done since it was made. System calls that a File
// makes itself are not the Ring's and not counted: all of a buffered file, and aligned
// reads of a direct one that is open for reading only and that few use. All counts but InFlight
// only grow. They are read one after the other while work goes on, so sums over
// several need not be exact.
type Stats struct {
	Submitted uint64 // operations that were given a place in the queue, or needed none
	Completed uint64 // operations ended
	InFlight  int    // operations that hold a place in the queue now

	Submits    uint64        // io_submit calls
	SubmitTime time.Duration // spent inside io_submit: much of it means that the file system blocks there
	Stalls     uint64        // io_submit calls that found no room (EAGAIN) and were repeated
	Strays     uint64        // events that belonged to no operation in flight: 0, or memory was corrupted

	ShortTransfers uint64 // short transfers that were continued
	Offloaded      uint64 // times that a worker carried out or submitted an operation, or took its result
	Inline         uint64 // operations that the caller carried out: the page cache had the data, or the file is in memory
	Errors         uint64 // operations that ended with an error other than io.EOF
	Calls          uint64 // functions of Ring.Go and Call that have ended; they count nowhere else

	BytesRead    uint64
	BytesWritten uint64

	// On O_DIRECT files. Aligned requests count in none of the first four.
	BouncedReads     uint64 // reads that went through an aligned buffer
	BouncedWrites    uint64 // writes that went through an aligned buffer or the page cache
	ReadModifyWrites uint64 // those of them that began or ended inside a block
	BytesCopied      uint64 // for all of them
	Extensions       uint64 // times that a file was made larger for writes to come
	Fallbacks        uint64 // times that it could not be, and workers carried the writes out
}

// Stats returns what the Ring has done. It is safe for concurrent use.
func (r *Ring) Stats() Stats {
	if !r.made() {
		return Stats{}
	}
	s, core := &r.files.Counts, r.core.Snapshot()
	answered := s.Answered.Load()
	return Stats{
		Submitted:      answered + core.Taken,
		Completed:      answered + core.Ended,
		InFlight:       core.InUse,
		Submits:        core.Submits,
		SubmitTime:     core.SubmitTime,
		Stalls:         core.Stalls,
		Strays:         core.Strays,
		ShortTransfers: s.ShortTransfers.Load(),
		Offloaded:      core.Offloaded,
		Inline:         s.Inline.Load(),
		Errors:         s.Errors.Load() + core.Done.Failed,
		Calls:          r.calls.Load(),
		BytesRead:      s.BytesRead.Load() + core.Done.Read,
		BytesWritten:   s.BytesWritten.Load() + core.Done.Written,

		BouncedReads:     s.BouncedReads.Load(),
		BouncedWrites:    s.BouncedWrites.Load(),
		ReadModifyWrites: s.ReadModifyWrites.Load(),
		BytesCopied:      s.BytesCopied.Load(),
		Extensions:       s.Extensions.Load(),
		Fallbacks:        s.Fallbacks.Load(),
	}
}
