// SPDX-License-Identifier: Apache-2.0

package prometheus

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"math"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/slicewatch/slicewatch/deploy/dashboards"
)

// picturesEnv makes TestMonitoring draw the dashboards into docs/images.
const picturesEnv = "SLICEWATCH_PICTURES"

// A picture shows this much time, in steps that are a pixel or two wide.
const (
	pictureTime = 4 * time.Minute
	pictureStep = 2 * time.Second
)

func collectFor() time.Duration {
	if os.Getenv(picturesEnv) != "" {
		return pictureTime
	}
	return collectTime
}

//go:embed pictures.html
var page string

// What pictures.html draws.
type (
	pictured struct {
		Title, Description string
		Start, End         int64 // seconds since 1970
		Rows               []picturedRow
	}
	picturedRow struct {
		Title  string
		Panels []picturedPanel
	}
	picturedPanel struct {
		dashboards.Panel
		// Series of a graph; Records of a table, by column.
		Series  []picturedSeries
		Records []map[string]any
	}
	picturedSeries struct {
		Name   string
		Points [][2]float64
	}
)

// draw makes a picture of each dashboard from what the server has.
func draw(t *testing.T, s *server) {
	t.Helper()
	if _, err := exec.LookPath("chromium"); err != nil {
		t.Fatal("pictures need Chromium: apt-get install chromium")
	}
	// Tables are of one moment: the last scrape that was in time.
	end := time.Now()
	if good := s.query(t, "last_over_time(timestamp(up == 1)[5m:1s])", 0); len(good) > 0 {
		end = time.UnixMilli(int64(good[0].Value.value * 1000))
	}
	for _, d := range dashboards.All() {
		values := variables()
		values["__rate_interval"], values["__range"] = "30s", strconv.Itoa(int(pictureTime.Seconds()))+"s"
		if d.UID == "slicewatch-container" {
			values["pod"] = "(api|worker)-.*"
		}
		p := pictured{Title: d.Title, Description: d.Description, Start: end.Add(-pictureTime).Unix(), End: end.Unix()}
		height := 90
		for _, row := range d.Rows {
			r := picturedRow{Title: row.Title}
			x, tallest := 0, 0
			height += 44
			for _, panel := range row.Panels {
				if panel.Width == 0 {
					panel.Width = 8
				}
				if panel.Height == 0 {
					panel.Height = 8
				}
				if x+panel.Width > 24 {
					height += tallest * rowPixels
					x, tallest = 0, 0
				}
				x, tallest = x+panel.Width, max(tallest, panel.Height)
				r.Panels = append(r.Panels, s.pictured(t, panel, values, end))
			}
			height += tallest * rowPixels
			p.Rows = append(p.Rows, r)
		}
		shoot(t, p, height, filepath.Join("..", "..", "docs", "images", d.UID+".png"))
	}
}

// rowPixels is the height of a panel's unit, as in pictures.html.
const rowPixels = 30

func (s *server) pictured(t *testing.T, panel dashboards.Panel, values map[string]string, end time.Time) picturedPanel {
	t.Helper()
	out := picturedPanel{Panel: panel}
	records := map[string]map[string]any{}
	for _, q := range panel.Queries {
		expr := dashboards.Expand(q.Expr, values)
		var results []result
		var err error
		if panel.Kind == dashboards.Table || panel.Kind == dashboards.Number {
			results, err = s.ask(expr, float64(end.UnixMilli())/1000)
		} else {
			results, err = s.answer("query_range", url.Values{
				"query": {expr}, "start": {strconv.FormatInt(end.Add(-pictureTime).Unix(), 10)}, "end": {strconv.FormatInt(end.Unix(), 10)},
				"step": {pictureStep.String()},
			})
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range results {
			if panel.Kind == dashboards.Table {
				key := fmt.Sprint(r.Metric)
				if records[key] == nil {
					records[key] = map[string]any{}
					for label, value := range r.Metric {
						records[key][label] = value
					}
					out.Records = append(out.Records, records[key])
				}
				if finite(r.Value.value) {
					records[key][q.Ref] = r.Value.value
				}
				continue
			}
			series := picturedSeries{Name: legend(q.Legend, r.Metric)}
			if r.Value != nil && finite(r.Value.value) {
				series.Points = append(series.Points, [2]float64{r.Value.at, r.Value.value})
			}
			for _, v := range r.Values {
				if finite(v.value) {
					series.Points = append(series.Points, [2]float64{v.at, v.value})
				}
			}
			out.Series = append(out.Series, series)
		}
	}
	return out
}

// finite leaves out what JSON cannot have.
func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }

var inLegend = regexp.MustCompile(`\{\{(\w+)\}\}`)

func legend(pattern string, labels map[string]string) string {
	return inLegend.ReplaceAllStringFunc(pattern, func(m string) string { return labels[inLegend.FindStringSubmatch(m)[1]] })
}

// shoot lets Chromium draw the page.
func shoot(t *testing.T, p pictured, height int, to string) {
	t.Helper()
	data, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "page.html")
	if err := os.WriteFile(file, bytes.ReplaceAll([]byte(page), []byte("/*DATA*/null"), data), 0o600); err != nil {
		t.Fatal(err)
	}
	to, err = filepath.Abs(to)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
		fmt.Sprintf("--window-size=1360,%d", height), "--screenshot="+to, "file://"+file)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("draw %s: %v\n%s", to, err, out)
	}
	t.Logf("drew %s", to)
}
