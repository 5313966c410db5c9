// Plot draws results/bench.svg from the results of all machines, which cmd/bench wrote.
package main

import (
	"flag"
	"fmt"
	"image/color"
	"log"
	"math"
	"os"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"

	"github.com/seed-9f8420c6/zk/bench/internal/result"
)

// series is one colour of bars.
type series struct {
	client, title string
	color         color.Color
}

var clients = []series{
	{"gozk", "go-zookeeper/zk v1.0.4", color.RGBA{0xb0, 0xb0, 0xb0, 0xff}},
	{"samuel", "samuel/go-zookeeper", color.RGBA{0x80, 0x80, 0x80, 0xff}},
	{"c", "C client", color.RGBA{0x8c, 0x6d, 0x5c, 0xff}},
	{"java", "Java client", color.RGBA{0xc9, 0x8b, 0x8b, 0xff}},
	{"kazoo", "kazoo (Python)", color.RGBA{0xa5, 0xb8, 0x7a, 0xff}},
	{"dropin", "gozk, the drop-in", color.RGBA{0x5f, 0xa2, 0xce, 0xff}},
	{"ours", "this client", color.RGBA{0x1f, 0x77, 0xb4, 0xff}},
	{"mux", "minimal mux (yardstick)", color.RGBA{0x98, 0xc8, 0xe8, 0xff}},
	{"raw", "raw limit", color.RGBA{0xf0, 0xc0, 0x60, 0xff}},
}

var shown = []string{"get1", "get64", "get512", "set512", "batch512", "children", "events"}

func main() {
	log.SetFlags(0)
	log.SetPrefix("plot: ")
	in := flag.String("in", "results", "`folder` with the samples of all machines")
	out := flag.String("out", "results/bench.svg", "`file` to draw")
	flag.Parse()
	if flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	if err := run(*in, *out); err != nil {
		log.Fatal(err)
	}
}

func run(in, out string) error {
	all, err := result.ReadAll(in)
	if err != nil {
		return err
	}
	canvas, err := picture(all)
	if err != nil {
		return err
	}
	f, err := os.Create(out)
	if err != nil {
		return err
	}
	if _, err := canvas.WriteTo(f); err != nil {
		return err
	}
	return f.Close()
}

// picture has for each machine the rates above and the CPU time below, all on
// logarithmic axes.
func picture(all []result.Report) (*vgsvg.Canvas, error) {
	var plots [][]*plot.Plot
	wide := 0
	for _, rep := range all {
		rates, costs, bars, err := charts(rep)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", rep.Machine, err)
		}
		plots = append(plots, []*plot.Plot{rates}, []*plot.Plot{costs})
		wide = max(wide, bars)
	}
	if len(plots) == 0 {
		return nil, fmt.Errorf("there are no results")
	}
	width, height := max(24, 8+4*vg.Length(wide))*vg.Centimeter, 20*vg.Length(len(all))*vg.Centimeter
	c := vgsvg.New(width, height)
	dc := draw.New(c)
	dc.SetColor(color.White)
	dc.Fill(dc.Rectangle.Path())
	tiles := draw.Tiles{Rows: len(plots), Cols: 1, PadX: vg.Millimeter, PadY: 5 * vg.Millimeter, PadTop: 3 * vg.Millimeter, PadBottom: 3 * vg.Millimeter, PadLeft: 3 * vg.Millimeter, PadRight: 5 * vg.Millimeter}
	for i, canvases := range plot.Align(plots, tiles, dc) {
		plots[i][0].Draw(canvases[0])
	}
	return c, nil
}

// charts are those of one machine, and how many bars stand side by side.
func charts(rep result.Report) (rates, costs *plot.Plot, bars int, err error) {
	var tables []result.Table
	for _, name := range shown {
		if t := rep.Table(name); len(t.Rows) > 0 {
			tables = append(tables, t)
		}
	}
	if len(tables) == 0 {
		return nil, nil, 0, fmt.Errorf("none of the workloads %v was measured", shown)
	}
	present := slices.DeleteFunc(slices.Clone(clients), func(s series) bool {
		return !slices.ContainsFunc(tables, func(t result.Table) bool { return len(t.Row(s.client).Samples) > 0 })
	})
	// batch512 has no peer: get512 stands in, for those who have no batch.
	row := func(t result.Table, client string) result.Row {
		r := t.Row(client)
		if t.Name == "batch512" && len(r.Samples) == 0 && client != "mux" {
			r = rep.Table("get512").Row(client)
		}
		return r
	}
	rates, err = chart(tables, present, 0.5, func(t result.Table, client string) float64 {
		base := row(t, "gozk").Rate().Median
		if base == 0 {
			return 0
		}
		return row(t, client).Rate().Median / base
	})
	if err != nil {
		return nil, nil, 0, err
	}
	rates.Title.Text = result.Processor(rep.Machine) + ": operations per second, relative to go-zookeeper/zk"
	costs, err = chart(tables, present, 0.01, func(t result.Table, client string) float64 { return row(t, client).CPU().Median })
	if err != nil {
		return nil, nil, 0, err
	}
	costs.Title.Text = "CPU time of the client per operation, microseconds"
	costs.Legend = plot.NewLegend()
	costs.X.Label.Text = fmt.Sprintf("%s, %s. batch512: clients without a batch are shown with their get512.", rep.Machine, rep.Date)
	costs.X.Label.TextStyle.Font.Size = vg.Points(8)
	costs.X.Label.Padding = 2 * vg.Millimeter
	return rates, costs, len(present), nil
}

// chart has a group of bars per table, one bar for each client. The axis is logarithmic and
// begins at least, or a tenth of it if there is less.
func chart(tables []result.Table, clients []series, least float64, value func(result.Table, string) float64) (*plot.Plot, error) {
	for _, t := range tables {
		for _, s := range clients {
			if v := value(t, s.client); v > 0 && v < least {
				least /= 10
			}
		}
	}
	p := plot.New()
	p.Title.Padding = 3 * vg.Millimeter
	p.Legend.Top, p.Legend.Left = true, true
	p.Legend.Padding = vg.Points(1)
	p.Legend.TextStyle.Font.Size = vg.Points(9)
	p.X.Padding = 0
	p.Y.Min = 0
	grid := plotter.NewGrid()
	grid.Vertical.Width = 0
	grid.Horizontal.Color = color.Gray{0xdd}
	p.Add(grid)

	const width = 15
	names := make([]string, len(tables))
	for i, t := range tables {
		names[i] = t.Name
	}
	most := least
	for i, s := range clients {
		heights := make(plotter.Values, len(tables))
		var labels plotter.XYLabels
		offset := vg.Points(width * (float64(i) - float64(len(clients)-1)/2))
		for j, t := range tables {
			v := value(t, s.client)
			if v <= 0 {
				continue
			}
			heights[j] = math.Max(0, math.Log10(v/least))
			most = math.Max(most, v)
			labels.XYs = append(labels.XYs, plotter.XY{X: float64(j), Y: heights[j]})
			labels.Labels = append(labels.Labels, short(v))
		}
		bars, err := plotter.NewBarChart(heights, vg.Points(width-1))
		if err != nil {
			return nil, err
		}
		bars.Color, bars.LineStyle.Width, bars.Offset = s.color, 0, offset
		p.Add(bars)
		p.Legend.Add(s.title, bars)
		if len(labels.XYs) == 0 {
			continue
		}
		texts, err := plotter.NewLabels(labels)
		if err != nil {
			return nil, err
		}
		texts.Offset = vg.Point{X: offset, Y: vg.Points(2)}
		for k := range texts.TextStyle {
			texts.TextStyle[k].Font.Size = vg.Points(6)
			texts.TextStyle[k].XAlign = text.XCenter
		}
		p.Add(texts)
	}
	p.NominalX(names...)
	p.X.Min, p.X.Max = -0.5, float64(len(tables))-0.5
	p.X.Tick.Label.Font.Size = vg.Points(10)
	p.Y.Max = math.Log10(most/least) * 1.15
	var ticks plot.ConstantTicks
	for decade := 0.001; decade < 1e6; decade *= 10 {
		for _, k := range []float64{1, 2, 5} {
			if v := decade * k; v >= least*0.999 && v <= most*1.2 {
				ticks = append(ticks, plot.Tick{Value: math.Log10(v / least), Label: short(v)})
			}
		}
	}
	p.Y.Tick.Marker = ticks
	return p, nil
}

// short prints two significant digits.
func short(v float64) string {
	switch {
	case v >= 10:
		return fmt.Sprintf("%.0f", v)
	case v >= 1:
		return fmt.Sprintf("%.2g", v)
	case v >= 0.1:
		return fmt.Sprintf("%.2f", v)
	}
	return fmt.Sprintf("%.3f", v)
}
