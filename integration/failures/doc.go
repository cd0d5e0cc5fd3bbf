// Package failures compares what a write that fails part of the way leaves
// (count, error, cursor, size and bytes) with what os.File leaves, on twin file
// systems that are almost full, and under limits.
package failures
