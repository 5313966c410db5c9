package zkdebug

import (
	"html/template"
	"time"
)

var html = template.Must(template.New("page").Funcs(template.FuncMap{
	"seconds": seconds,
	"clock":   func(t time.Time) string { return t.Format("15:04:05.000") },
	"listed":  func(what string, list []Note) listed { return listed{what, list} },
	"ago":     func(now, t time.Time) string { return seconds(now.Sub(t).Seconds()) },
}).Parse(`<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>/debug/zk</title>
<style>
body { font: 14px/1.4 system-ui, sans-serif; margin: 1.5em; color: #222; background: #fff; }
h1 { font-size: 1.4em; } h2 { font-size: 1.15em; margin-top: 1.6em; } h3 { font-size: 1em; margin-bottom: .2em; }
table { border-collapse: collapse; margin: .4em 0; }
th, td { text-align: left; padding: .15em .8em .15em 0; vertical-align: top; }
th { border-bottom: 1px solid #999; font-weight: 600; }
td { border-bottom: 1px solid #ddd; font-family: ui-monospace, monospace; font-size: 13px; }
.bad { color: #a00; font-weight: 600; } .none { color: #666; }
</style>
</head>
<body>
<h1>ZooKeeper sessions of this process</h1>
<p>{{clock .Time}} · <a href="?json{{if .Paths}}&amp;paths=1{{end}}">JSON</a> ·
{{if .Paths}}<a href="?">without paths</a>{{else}}<a href="?paths=1">with paths and errors</a>{{end}}</p>

<h2 id="sessions">Sessions: {{len .Sessions}}</h2>
{{range $s := .Sessions}}
<h3>Session {{.ID}} at {{.Addr}}{{if .ReadOnly}} <span class="bad">read-only</span>{{end}}</h3>
<table>
<tr><th>since</th><th>moves</th><th>timeout</th><th>lease</th><th>zxid</th><th>calls</th><th>failed</th><th>given up</th><th>requests</th><th>replies</th><th>events</th><th>ignored</th><th>pings</th><th>sent</th><th>received</th></tr>
<tr><td>{{clock .Since}} ({{ago $.Time .Since}})</td><td>{{.Moves}}</td><td>{{seconds .Timeout}}</td><td{{if lt .Lease 0.0}} class="bad"{{end}}>{{seconds .Lease}}</td><td>{{.Zxid}}</td>
<td>{{.Stats.Calls}}</td><td>{{.Stats.Failed}}</td><td>{{.Stats.Abandoned}}</td><td>{{.Stats.Requests}}</td><td>{{.Stats.Replies}}</td><td>{{.Stats.Events}}</td><td>{{.Stats.Ignored}}</td><td>{{.Stats.Pings}}</td><td>{{.Stats.BytesSent}} B</td><td>{{.Stats.BytesReceived}} B</td></tr>
</table>
<table>
<tr>{{range $kind, $n := .Armed}}<th>{{$kind}} watches</th>{{end}}<th>queued events</th><th>waiting for</th></tr>
<tr>{{range $kind, $n := .Armed}}<td>{{$n}}</td>{{end}}<td>{{.Stats.Queued}}</td><td{{if ge .QueuedFor 10.0}} class="bad"{{end}}>{{if .Stats.Queued}}{{seconds .QueuedFor}}{{else}}–{{end}}</td></tr>
</table>
{{if .Calls}}<table>
<tr><th>pending call</th><th>age</th>{{if $.Paths}}<th>path</th>{{end}}</tr>
{{range .Calls}}<tr><td>{{.Op}}{{if gt .Ops 1}} of {{.Ops}}{{end}}</td><td{{if gt .Age $s.Timeout}} class="bad"{{end}}>{{seconds .Age}}</td>{{if $.Paths}}<td>{{.Path}}</td>{{end}}</tr>
{{end}}</table>{{else}}<p class="none">No call is pending.</p>{{end}}
{{if .Watches}}<table>
<tr><th>watch</th><th>path</th><th>channel</th><th>in it</th><th>capacity</th><th></th></tr>
{{range .Watches}}<tr><td>{{.Kind}}</td><td>{{.Path}}</td><td>{{.Channel}}</td><td>{{.Len}}</td><td>{{.Cap}}</td><td>{{if .Fired}}<span class="bad">waits for room</span>{{end}}</td></tr>
{{end}}</table>{{end}}
{{else}}<p class="none">None. Did the program call metrics.Attach before Dial?</p>
{{end}}

{{define "notes"}}{{if .List}}<table>
<tr><th>time</th><th>server</th><th>session</th><th>{{.What}}</th></tr>
{{range .List}}<tr><td>{{clock .Time}}</td><td>{{.Addr}}</td><td>{{.Session}}</td><td>{{.Why}}{{if .Text}} – {{.Text}}{{end}}{{.Path}}</td></tr>
{{end}}</table>{{else}}<p class="none">None.</p>{{end}}{{end}}
<h2 id="ends">Last ends of Sessions</h2>
{{template "notes" (listed "why" .Ends)}}
<h2 id="dials">Last dials</h2>
{{template "notes" (listed "failure" .Dials)}}
<h2 id="gaps">Last gaps</h2>
{{template "notes" (listed "path" .Gaps)}}
{{if .Frames}}<h2 id="frames">Last frames</h2>
<table>
<tr><th>time</th><th>server</th><th>frame</th><th>bytes</th>{{if .Paths}}<th>path</th>{{end}}</tr>
{{range .Frames}}<tr><td>{{clock .Time}}</td><td>{{.Addr}}</td><td>{{.Text}}</td><td>{{.Size}}</td>{{if $.Paths}}<td>{{.Path}}</td>{{end}}</tr>
{{end}}</table>{{end}}
</body>
</html>
`))

// listed is a table of notes.
type listed struct {
	What string
	List []Note
}
