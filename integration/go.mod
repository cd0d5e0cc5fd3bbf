module github.com/seed-39be8cca/asyncfile/integration

go 1.26.0

replace github.com/seed-39be8cca/asyncfile => ../

require (
	github.com/hanwen/go-fuse/v2 v2.12.1
	github.com/ncruces/go-sqlite3 v0.36.0
	github.com/seed-39be8cca/asyncfile v0.0.0-00010101000000-000000000000
	golang.org/x/sys v0.49.0
	pgregory.net/rapid v1.3.0
)

require (
	github.com/ncruces/go-sqlite3-wasm/v6 v6.4.35401 // indirect
	github.com/ncruces/julianday v1.0.0 // indirect
	golang.org/x/sync v0.24.0 // indirect
)
