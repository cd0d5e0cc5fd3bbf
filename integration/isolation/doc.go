// Package isolation shows that what sleeps in the kernel on one file system, as
// every write to a frozen one does, holds up no caller, and no operation on
// another file system, though both use one Ring.
package isolation
