module github.com/seed-39be8cca/asyncfile

go 1.25

require (
	golang.org/x/sync v0.19.0
	golang.org/x/sys v0.40.0
)
