// Package model checks direct I/O against a model in memory, on file systems
// that it makes in loop devices, where it may.
package model
