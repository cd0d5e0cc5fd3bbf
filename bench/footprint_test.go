package main

import (
	"os"
	"runtime"
	"testing"
)

func TestFootprint(t *testing.T) {
	const objects, size = 100, 64 << 10
	before := cleanFootprint()
	kept := make([][]byte, objects)
	for i := range kept {
		kept[i] = make([]byte, size)
		for off := 0; off < size; off += os.Getpagesize() {
			kept[i][off] = 1
		}
		_ = make([]byte, size)
	}
	each := cleanFootprint().since(before, objects)
	runtime.KeepAlive(kept)
	if each.inUse < size*0.9 || each.inUse > size*1.5 {
		t.Errorf("%v bytes in use for %d", each.inUse, size)
	}
	if before.rss > 0 && each.rss < size*0.5 {
		t.Errorf("the RSS grew by %v for %d", each.rss, size)
	}
}
