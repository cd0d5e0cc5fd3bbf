// Package plot draws lines over a logarithmic axis, as SVG or PNG.
package plot

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

// A Picture is lines with names. X is more than 0.
type Picture struct {
	Title, X, Y string
	lines       []line
}

type line struct {
	name   string
	points plotter.XYs
}

// Add adds a point to the line of that name.
func (p *Picture) Add(name string, x, y float64) {
	i := slices.IndexFunc(p.lines, func(l line) bool { return l.name == name })
	if i < 0 {
		i = len(p.lines)
		p.lines = append(p.lines, line{name: name})
	}
	p.lines[i].points = append(p.lines[i].points, plotter.XY{X: x, Y: y})
}

// Check refuses a name whose ending says no format. An empty one is none, and fine.
func Check(name string) error {
	if ext := filepath.Ext(name); name != "" && ext != ".svg" && ext != ".png" {
		return fmt.Errorf("--plot %s: use a name that ends in .svg or .png", name)
	}
	return nil
}

// colours are told apart by those who do not see all of them (Okabe and Ito).
func colours() []color.Color {
	return []color.Color{
		color.RGBA{0, 114, 178, 255}, color.RGBA{213, 94, 0, 255}, color.RGBA{0, 158, 115, 255},
		color.RGBA{90, 90, 90, 255}, color.RGBA{204, 121, 167, 255}, color.RGBA{230, 159, 0, 255},
	}
}

// Save draws the picture to a file.
func Save(name string, pic Picture) error {
	p := plot.New()
	p.BackgroundColor = color.White
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = pic.Title, pic.X+" (log scale)", pic.Y
	p.X.Scale = plot.LogScale{}
	p.Add(plotter.NewGrid())
	p.Legend.Top, p.Legend.Left = true, true
	ticks := map[float64]plot.Tick{}
	most := 0.0
	for i, l := range pic.lines {
		drawn, dots, err := plotter.NewLinePoints(l.points)
		if err != nil {
			return err
		}
		c := colours()[i%len(colours())]
		drawn.Color, drawn.Width = c, 2
		dots.Color, dots.Shape, dots.Radius = c, draw.CircleGlyph{}, 2.5
		p.Add(drawn, dots)
		p.Legend.Add(l.name, drawn)
		for _, at := range l.points {
			ticks[at.X] = plot.Tick{Value: at.X, Label: strconv.FormatFloat(at.X, 'f', -1, 64)}
			most = max(most, at.Y)
		}
	}
	if len(ticks) == 0 {
		return fmt.Errorf("%s: there is nothing to draw", name)
	}
	var marks plot.ConstantTicks
	for _, t := range ticks {
		marks = append(marks, t)
	}
	p.X.Tick.Marker = marks
	p.Y.Min, p.Y.Max = 0, 1.25*most // room for the legend
	if len(ticks) == 1 {            // an axis needs a length
		for x := range ticks {
			p.X.Min, p.X.Max = x/2, x*2
		}
	}
	return p.Save(8*vg.Inch, 5*vg.Inch, name)
}
