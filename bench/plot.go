package main

import (
	"cmp"
	"errors"
	"fmt"
	"image/color"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// A brush is what the line of a contender is drawn with.
type brush struct {
	name   string
	color  color.RGBA
	width  vg.Length
	dashes []vg.Length // nil: solid
}

// brushes are those of the contenders in the pictures: C grey, the bare system calls
// black, the others cold, ours warm and on top.
var brushes = []brush{
	{fioOne, color.RGBA{170, 170, 170, 255}, 1.5, nil},
	{fioBatch, color.RGBA{90, 90, 90, 255}, 1.5, nil},
	{bareLoop, color.RGBA{0, 0, 0, 255}, 1.5, nil},
	{osFile, color.RGBA{31, 119, 180, 255}, 1.5, nil},
	{iouringGo, color.RGBA{148, 103, 189, 255}, 1.5, nil},
	{giouringLoop, color.RGBA{44, 160, 44, 255}, 1.5, nil},
	{goaioLoop, color.RGBA{23, 190, 207, 255}, 1.5, nil},
	{future, color.RGBA{214, 39, 40, 255}, 3, nil},
	{queue, color.RGBA{255, 127, 14, 255}, 3, []vg.Length{5, 3}},
	{queuePulled, color.RGBA{255, 127, 14, 255}, 3, nil},
}

// A series is the medians of one contender, by depth.
type series struct {
	brush
	points plotter.XYs
}

// seriesOf returns what the runs have of random 4 KiB reads from the disk.
func seriesOf(runs []run, with brush, of func(result) float64) series {
	depths := map[int]bool{}
	for _, r := range runs {
		c := r.cell
		if c == reads(c.Depth) {
			depths[c.Depth] = true
		}
	}
	s := series{brush: with}
	for _, d := range slices.Sorted(maps.Keys(depths)) {
		v := values(results(runs, with.name, reads(d)), of)
		if len(v) > 0 {
			s.points = append(s.points, plotter.XY{X: float64(d), Y: spreadOf(v).median})
		}
	}
	return s
}

// A picture is one figure over depth.
type picture struct {
	base, unit string
	of         func(result) float64
	logY       bool
}

var pictures = []picture{
	{"iops", "thousand IOPS", func(r result) float64 { return r.iops() / 1e3 }, false},
	{"cpu", "CPU per operation, µs (log scale)", result.cpuPerOp, true},
}

// writePlots draws IOPS and CPU per operation over depth, and returns the names
// of the files: none where there are not two depths to draw a line between.
func writePlots(dir string, runs []run) ([]string, error) {
	var names []string
	for _, pic := range pictures {
		var lines []series
		depths := 0
		for _, b := range brushes {
			if s := seriesOf(runs, b, pic.of); len(s.points) > 0 {
				lines = append(lines, s)
				depths = max(depths, len(s.points))
			}
		}
		if depths < 2 {
			return nil, nil
		}
		p, legend, err := pic.draw(lines)
		if err != nil {
			return nil, err
		}
		for _, ext := range []string{".svg", ".png"} {
			name := filepath.Join(dir, pic.base+ext)
			if err := save(p, legend, name); err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			names = append(names, name)
		}
	}
	return names, nil
}

// draw draws the lines. The legend is apart from the plot, and in the order in
// which the lines end at the right.
func (pic picture) draw(lines []series) (*plot.Plot, plot.Legend, error) {
	p, legend := plot.New(), plot.NewLegend()
	p.Title.Text = "Random 4 KiB reads, O_DIRECT"
	p.X.Label.Text = "operations in flight (log scale)"
	p.Y.Label.Text = pic.unit
	p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, depthTicks(lines)
	if pic.logY {
		p.Y.Scale, p.Y.Tick.Marker = plot.LogScale{}, plot.TickerFunc(powerTicks)
	}
	p.Add(plotter.NewGrid())
	legend.Top, legend.Left, legend.Padding = true, true, 4
	thumbs := map[string]plot.Thumbnailer{}
	for _, s := range lines {
		line, dots, err := plotter.NewLinePoints(s.points)
		if err != nil {
			return nil, legend, err
		}
		line.Color, line.Width, line.Dashes = s.color, s.width, s.dashes
		dots.Color, dots.Shape, dots.Radius = s.color, draw.CircleGlyph{}, s.width
		p.Add(line, dots)
		thumbs[s.name] = line
	}
	if !pic.logY {
		p.Y.Min = 0
	}
	end := func(s series) float64 { return s.points[len(s.points)-1].Y }
	for _, s := range slices.SortedFunc(slices.Values(lines), func(a, b series) int { return cmp.Compare(end(b), end(a)) }) {
		legend.Add(s.name, thumbs[s.name])
	}
	return p, legend, nil
}

// save writes a plot with the legend beside it. The legend has a quarter more room
// than its text is said to take: who shows an SVG may have other fonts.
func save(p *plot.Plot, legend plot.Legend, name string) error {
	const width, height, gap = 9 * vg.Inch, 5 * vg.Inch, 10
	canvas, err := draw.NewFormattedCanvas(width, height, strings.TrimPrefix(filepath.Ext(name), "."))
	if err != nil {
		return err
	}
	all := draw.New(canvas)
	all.SetColor(color.White)
	all.Fill(all.Rectangle.Path())
	text := legend.Rectangle(all).Size().X
	room := gap + text*5/4
	p.Draw(draw.Crop(all, gap, -room, gap, -gap))
	legend.Draw(draw.Crop(all, width-room+gap, 0, 0, -4*gap))
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	_, err = canvas.WriteTo(f)
	return errors.Join(err, f.Close())
}

// depthTicks are the depths that there are.
func depthTicks(lines []series) plot.ConstantTicks {
	depths := map[float64]bool{}
	for _, s := range lines {
		for _, pt := range s.points {
			depths[pt.X] = true
		}
	}
	var ticks []plot.Tick
	for _, d := range slices.Sorted(maps.Keys(depths)) {
		ticks = append(ticks, plot.Tick{Value: d, Label: strconv.Itoa(int(d))})
	}
	return ticks
}

// powerTicks are 1, 2, 5, 10, 20, ...
func powerTicks(low, high float64) []plot.Tick {
	var ticks []plot.Tick
	for power := 0.001; power <= high; power *= 10 {
		for _, m := range []float64{1, 2, 5} {
			if v := m * power; v >= low && v <= high {
				ticks = append(ticks, plot.Tick{Value: v, Label: strconv.FormatFloat(v, 'g', 3, 64)})
			}
		}
	}
	return ticks
}
