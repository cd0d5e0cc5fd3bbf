package aio

import "structs"

// An Event is a struct io_event, the completion record of one operation: 32
// bytes on every architecture.
//
// Neither Data nor Obj may be used as a pointer. The ring is writable memory of
// the process, so an event is as trustworthy as the least careful code in it:
// look both up in a table.
type Event struct {
	_ structs.HostLayout

	Data uint64 // what SetData put into the iocb
	Obj  uint64 // the address that the iocb had at Submit
	Res  int64  // bytes transferred, or minus errno; see Result
	Res2 int64  // 0 for files
}
