// SPDX-License-Identifier: Apache-2.0

package backtest

import (
	"fmt"
	"html/template"
	"io"
	"math"
	"strings"
	"time"
)

// The size of a picture and of the frame in it, in pixels.
const (
	pictureWidth, pictureHeight = 860, 300
	frameLeft, frameTop         = 56, 34
	frameWidth, frameHeight     = pictureWidth - frameLeft - 12, pictureHeight - frameTop - 34
)

// colours are the recommenders', in their order; of a palette that is told
// apart by the colour-blind too (Okabe and Ito).
var colours = []string{"#0072b2", "#d55e00", "#009e73"}

type line struct {
	Name, Colour, Points string
	X                    int
}

type tick struct {
	At    float64
	Label string
}

type picture struct {
	Width, Height, Left, Top, FrameWidth, FrameHeight int
	Title, Used                                       string
	Lines                                             []line
	Ticks, Days                                       []tick
}

var pictureTemplate = template.Must(template.New("picture").Parse(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {{.Width}} {{.Height}}" font-family="sans-serif" font-size="12">
<rect width="{{.Width}}" height="{{.Height}}" fill="white"/>
<text x="{{.Left}}" y="16" font-weight="bold" fill="#222">{{.Title}}</text>
{{range .Ticks}}<path d="M{{$.Left}} {{.At}}h{{$.FrameWidth}}" stroke="#ddd"/><text x="{{$.Left}}" y="{{.At}}" dx="-6" dy="4" text-anchor="end" fill="#555">{{.Label}}</text>
{{end}}{{range .Days}}<text x="{{.At}}" y="{{$.Height}}" dy="-16" text-anchor="middle" fill="#555">{{.Label}}</text>
{{end}}<path d="{{.Used}}" fill="#bbb" stroke="#bbb" stroke-width="0.6"/>
{{range .Lines}}<path d="{{.Points}}" fill="none" stroke="{{.Colour}}" stroke-width="1.8"/>
<path d="M{{.X}} {{$.Height}}m0 -5h18" stroke="{{.Colour}}" stroke-width="3"/><text x="{{.X}}" y="{{$.Height}}" dx="23" dy="-1" fill="#222">{{.Name}}</text>
{{end}}</svg>
`))

// WritePicture draws a trace, grey, and what each recommender kept in force.
// The values are divided by unit, which title names.
func WritePicture(w io.Writer, title string, t Trace, unit float64, names []string, inForce [][]Point) error {
	p := picture{
		Width: pictureWidth, Height: pictureHeight, Left: frameLeft, Top: frameTop,
		FrameWidth: frameWidth, FrameHeight: frameHeight, Title: title,
	}
	top := 0.0
	for _, points := range append([][]Point{t.Points}, inForce...) {
		for _, point := range points {
			top = max(top, point.Value/unit)
		}
	}
	start, length := t.Points[0].At, t.Duration()
	x := func(at time.Time) float64 { return frameLeft + frameWidth*float64(at.Sub(start))/float64(length) }
	y := func(v float64) float64 { return frameTop + frameHeight*(1-v/unit/top) }
	p.Used = band(t.Points, x, y)
	for i, points := range inForce {
		p.Lines = append(p.Lines, line{Name: names[i], Colour: colours[i%len(colours)], Points: stairs(points, x, y), X: frameLeft + 190*i})
	}
	step := niceStep(top / 4)
	for v := 0.0; v <= top; v += step {
		p.Ticks = append(p.Ticks, tick{y(v * unit), fmt.Sprintf("%.3g", v)})
	}
	for day := time.Duration(0); day <= length; day += max(24*time.Hour, length/7).Truncate(24 * time.Hour) {
		p.Days = append(p.Days, tick{x(start.Add(day)), fmt.Sprintf("day %d", day/(24*time.Hour))})
	}
	return pictureTemplate.Execute(w, p)
}

// band draws the lowest and the highest value of each column of pixels.
func band(points []Point, x func(time.Time) float64, y func(float64) float64) string {
	var b strings.Builder
	for i := 0; i < len(points); {
		column := math.Floor(x(points[i].At))
		low, high := points[i].Value, points[i].Value
		for ; i < len(points) && math.Floor(x(points[i].At)) == column; i++ {
			low, high = min(low, points[i].Value), max(high, points[i].Value)
		}
		fmt.Fprintf(&b, "M%.0f %.1fV%.1f", column, y(low)+0.5, y(high))
	}
	return b.String()
}

// stairs draws a value that stays until it changes.
func stairs(points []Point, x func(time.Time) float64, y func(float64) float64) string {
	var b strings.Builder
	for i, p := range points {
		switch {
		case i == 0:
			fmt.Fprintf(&b, "M%.1f %.1f", x(p.At), y(p.Value))
		case p.Value != points[i-1].Value:
			fmt.Fprintf(&b, "H%.1fV%.1f", x(p.At), y(p.Value))
		}
	}
	if len(points) > 0 {
		fmt.Fprintf(&b, "H%.1f", x(points[len(points)-1].At))
	}
	return b.String()
}

// niceStep returns 1, 2 or 5 times a power of ten, not below least.
func niceStep(least float64) float64 {
	power := math.Pow(10, math.Floor(math.Log10(least)))
	for _, f := range []float64{1, 2, 5} {
		if f*power >= least {
			return f * power
		}
	}
	return 10 * power
}
