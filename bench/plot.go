package main

import (
	"fmt"
	"image/color"
	"path/filepath"
	"slices"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// plotted are the contenders of the pictures, each with its colour: ours warm,
// C grey, the bare system calls black, the others cold.
var plotted = []struct {
	name  string
	color color.RGBA
	width vg.Length
}{
	{fioOne, color.RGBA{170, 170, 170, 255}, 1.5},
	{fioBatch, color.RGBA{90, 90, 90, 255}, 1.5},
	{bareLoop, color.RGBA{0, 0, 0, 255}, 1.5},
	{osFile, color.RGBA{31, 119, 180, 255}, 1.5},
	{future, color.RGBA{214, 39, 40, 255}, 3},
	{queue, color.RGBA{255, 127, 14, 255}, 3},
	{iouringGo, color.RGBA{148, 103, 189, 255}, 1.5},
	{giouringLoop, color.RGBA{44, 160, 44, 255}, 1.5},
	{goaioLoop, color.RGBA{23, 190, 207, 255}, 1.5},
}

// A series is the medians of one contender, by depth.
type series struct {
	name   string
	points plotter.XYs
}

// seriesOf returns what the runs have of random 4 KiB reads from the disk.
func seriesOf(runs []run, name string, of func(result) float64) series {
	depths := map[int]bool{}
	for _, r := range runs {
		c := r.cell
		if c == (cell{"disk", false, randRead, kib4, c.Depth}) {
			depths[c.Depth] = true
		}
	}
	s := series{name: name}
	for _, d := range slices.Sorted(mapKeys(depths)) {
		v := values(results(runs, name, cell{"disk", false, randRead, kib4, d}), of)
		if len(v) > 0 {
			s.points = append(s.points, plotter.XY{X: float64(d), Y: spreadOf(v).median})
		}
	}
	return s
}

// writePlots draws IOPS and CPU per operation over depth, and returns the names
// of the files: none where there are not two depths to draw a line between.
func writePlots(dir string, runs []run) ([]string, error) {
	var names []string
	for _, pic := range []struct {
		base, title, unit string
		of                func(result) float64
		logY              bool
	}{
		{"iops", "Random 4 KiB reads, O_DIRECT", "thousand IOPS", func(r result) float64 { return r.iops() / 1e3 }, false},
		{"cpu", "Random 4 KiB reads, O_DIRECT", "CPU per operation, µs (log scale)", result.cpuPerOp, true},
	} {
		p := plot.New()
		p.BackgroundColor = color.White
		p.Title.Text = pic.title
		p.X.Label.Text = "operations in flight (log scale)"
		p.Y.Label.Text = pic.unit
		p.X.Scale = plot.LogScale{}
		p.Add(plotter.NewGrid())
		p.Legend.Top, p.Legend.Left = true, !pic.logY
		drawn, err := drawLines(p, runs, pic.of)
		if err != nil {
			return nil, err
		}
		if drawn < 2 {
			return nil, nil
		}
		if pic.logY {
			p.Y.Scale, p.Y.Tick.Marker = plot.LogScale{}, plot.TickerFunc(powerTicks)
		} else {
			p.Y.Min = 0
		}
		for _, ext := range []string{".svg", ".png"} {
			name := filepath.Join(dir, pic.base+ext)
			if err := p.Save(8*vg.Inch, 5*vg.Inch, name); err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			names = append(names, name)
		}
	}
	return names, nil
}

// drawLines adds a line for each contender and returns the most points of any.
func drawLines(p *plot.Plot, runs []run, of func(result) float64) (most int, err error) {
	var ticks []plot.Tick
	for _, who := range plotted {
		s := seriesOf(runs, who.name, of)
		if len(s.points) == 0 {
			continue
		}
		line, dots, err := plotter.NewLinePoints(s.points)
		if err != nil {
			return 0, err
		}
		line.Color, line.Width = who.color, who.width
		dots.Color, dots.Shape, dots.Radius = who.color, draw.CircleGlyph{}, who.width
		p.Add(line, dots)
		p.Legend.Add(who.name, line)
		if len(s.points) > most {
			most, ticks = len(s.points), nil
			for _, pt := range s.points {
				ticks = append(ticks, plot.Tick{Value: pt.X, Label: strconv.Itoa(int(pt.X))})
			}
		}
	}
	p.X.Tick.Marker = plot.ConstantTicks(ticks)
	return most, nil
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
