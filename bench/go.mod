module github.com/seed-39be8cca/asyncfile/bench

go 1.25.0

replace github.com/seed-39be8cca/asyncfile => ../

require (
	github.com/HdrHistogram/hdrhistogram-go v1.4.0
	github.com/iceber/iouring-go v0.0.0-20230403020409-002cfd2e2a90
	github.com/pawelgaczynski/giouring v0.0.0-20230826085535-69588b89acb9
	github.com/schollz/progressbar/v3 v3.19.1
	github.com/seed-39be8cca/asyncfile v0.0.0-00010101000000-000000000000
	github.com/traetox/goaio v0.0.0-20220429215118-14623b8760d6
	golang.org/x/sys v0.46.0
	gonum.org/v1/plot v0.17.0
)

require (
	codeberg.org/go-fonts/liberation v0.5.0 // indirect
	codeberg.org/go-latex/latex v0.2.0 // indirect
	codeberg.org/go-pdf/fpdf v0.11.1 // indirect
	git.sr.ht/~sbinet/gg v0.7.0 // indirect
	github.com/ajstarks/svgo v0.0.0-20211024235047-1546f124cd8b // indirect
	github.com/golang/freetype v0.0.0-20170609003504-e2365dfdc4a0 // indirect
	github.com/mitchellh/colorstring v0.0.0-20190213212951-d06e56a500db // indirect
	github.com/rivo/uniseg v0.4.7 // indirect
	golang.org/x/image v0.30.0 // indirect
	golang.org/x/sync v0.19.0 // indirect
	golang.org/x/term v0.44.0 // indirect
	golang.org/x/text v0.28.0 // indirect
)
