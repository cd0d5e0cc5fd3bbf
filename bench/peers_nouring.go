//go:build !uring

package main

var runIouringGo, runGiouring func(w *work) error // in the other binary
