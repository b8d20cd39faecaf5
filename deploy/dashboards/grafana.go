// SPDX-License-Identifier: Apache-2.0

package dashboards

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
)

// The parts of Grafana's dashboard model that are used, as of schema 39
// (Grafana 10 and newer read it).
const (
	schemaVersion = 39
	columns       = 24
	tag           = "slicewatch"
)

// object is a JSON object; its keys are written in order.
type object map[string]any

// JSON returns the dashboard as Grafana imports it.
func (d Dashboard) JSON() ([]byte, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", " ")
	if err := encoder.Encode(d.object()); err != nil {
		return nil, fmt.Errorf("write dashboard %s: %w", d.UID, err)
	}
	return b.Bytes(), nil
}

func (d Dashboard) object() object {
	var variables []object
	for _, v := range d.Variables {
		variables = append(variables, v.object())
	}
	return object{
		"uid": d.UID, "title": d.Title, "description": d.Description, "tags": []string{tag},
		"schemaVersion": schemaVersion, "version": 1, "editable": true, "graphTooltip": 1,
		"refresh": "30s", "time": object{"from": "now-3h", "to": "now"}, "timezone": "",
		"templating": object{"list": variables},
		// The others, with the choice made here.
		"links": []object{{
			"type": "dashboards", "tags": []string{tag}, "title": "slicewatch", "asDropdown": false,
			"includeVars": true, "keepTime": true, "icon": "external link", "targetBlank": false, "url": "",
		}},
		"annotations": object{"list": []object{}},
		"panels":      d.panels(),
	}
}

func (v Variable) object() object {
	if v.Query == "" {
		return object{
			"name": v.Name, "label": v.Label, "type": "datasource", "query": "prometheus", "regex": "", "hide": 0,
			"includeAll": false, "multi": false, "refresh": 1, "options": []object{}, "current": object{},
		}
	}
	o := object{
		"name": v.Name, "label": v.Label, "type": "query", "datasource": source(), "definition": v.Query,
		"query": object{"query": v.Query, "refId": "variable"}, "regex": "", "hide": 0, "sort": 1,
		// Again at each change of the time range: pods come and go.
		"refresh": 2, "multi": v.Several, "includeAll": v.All, "options": []object{}, "current": object{},
	}
	if v.All {
		// One pattern, however many values there are; it matches series without
		// the label too.
		o["allValue"] = ".*"
		o["current"] = object{"text": []string{"All"}, "value": []string{"$__all"}}
	}
	return o
}

func source() object { return object{"type": "prometheus", "uid": "${datasource}"} }

// panels places the panels from left to right, each row below a heading.
func (d Dashboard) panels() []object {
	var all []object
	y := 0
	for _, row := range d.Rows {
		all = append(all, object{
			"id": len(all) + 1, "type": "row", "title": row.Title, "collapsed": false, "panels": []object{},
			"gridPos": object{"x": 0, "y": y, "w": columns, "h": 1},
		})
		y++
		x, tallest := 0, 0
		for _, p := range row.Panels {
			width, height := p.size()
			if x+width > columns {
				x, y, tallest = 0, y+tallest, 0
			}
			o := p.object()
			o["id"] = len(all) + 1
			o["gridPos"] = object{"x": x, "y": y, "w": width, "h": height}
			all = append(all, o)
			x, tallest = x+width, max(tallest, height)
		}
		y += tallest
	}
	return all
}

func (p Panel) size() (width, height int) {
	width, height = p.Width, p.Height
	if width == 0 {
		width = 8
	}
	if height == 0 {
		height = 8
	}
	return width, height
}

func (p Panel) object() object {
	o := object{
		"title": p.Title, "description": p.Description, "type": string(p.kind()), "datasource": source(),
		"targets": p.targets(), "fieldConfig": object{"defaults": p.defaults(), "overrides": []object{}},
	}
	switch p.kind() {
	case Lines:
		o["options"] = object{
			"legend":  object{"displayMode": "list", "placement": "bottom", "showLegend": true},
			"tooltip": object{"mode": "multi", "sort": "desc"},
		}
	case Number:
		o["options"] = object{
			"reduceOptions": object{"calcs": []string{"lastNotNull"}, "fields": "", "values": false},
			"colorMode":     "value", "graphMode": "none", "textMode": "auto", "justifyMode": "auto", "orientation": "auto",
		}
	case Heatmap:
		o["options"] = object{
			"calculate": false, "cellGap": 1, "yAxis": object{"axisPlacement": "left", "unit": p.Unit},
			"color":   object{"mode": "scheme", "scheme": "Oranges", "steps": 64, "exponent": 0.5},
			"tooltip": object{"mode": "single", "yHistogram": true}, "legend": object{"show": true}, "rowsFrame": object{"layout": "auto"},
		}
	case Timeline:
		o["options"] = object{
			"mergeValues": true, "showValue": "never", "rowHeight": 0.9,
			"legend": object{"displayMode": "list", "placement": "bottom", "showLegend": false},
		}
	case Table:
		o["options"] = object{"showHeader": true, "cellHeight": "sm"}
		o["transformations"] = p.transformations()
		o["fieldConfig"] = object{"defaults": p.defaults(), "overrides": p.overrides()}
	}
	return o
}

func (p Panel) kind() Kind {
	if p.Kind == "" {
		return Lines
	}
	return p.Kind
}

func (p Panel) targets() []object {
	var all []object
	for i, q := range p.Queries {
		o := object{"refId": q.ref(i), "datasource": source(), "expr": q.Expr, "legendFormat": q.Legend, "editorMode": "code"}
		switch p.kind() {
		case Table:
			o["format"], o["instant"], o["range"] = "table", true, false
		case Number:
			o["instant"], o["range"] = true, false
		case Heatmap:
			o["format"], o["range"] = "heatmap", true
		case Lines, Timeline:
			o["range"] = true
		}
		all = append(all, o)
	}
	return all
}

func (q Query) ref(i int) string {
	if q.Ref != "" {
		return q.Ref
	}
	return string(rune('A' + i))
}

// thresholds colours what is above a bound.
func thresholds(warn, bad float64) object {
	steps := []object{{"color": "green", "value": nil}}
	if warn != 0 {
		steps = append(steps, object{"color": "yellow", "value": warn})
	}
	if bad != 0 {
		steps = append(steps, object{"color": "red", "value": bad})
	}
	return object{"mode": "absolute", "steps": steps}
}

func (p Panel) defaults() object {
	o := object{"unit": p.Unit, "thresholds": thresholds(p.Warn, p.Bad)}
	if p.Max != 0 {
		o["max"] = p.Max
	}
	switch p.kind() {
	case Lines:
		o["min"] = 0
		custom := object{"lineWidth": 1, "fillOpacity": 10, "showPoints": "never", "spanNulls": false}
		if p.Stacked {
			custom["stacking"] = object{"mode": "normal", "group": "A"}
			custom["fillOpacity"] = 40
		}
		if p.Warn != 0 || p.Bad != 0 {
			custom["thresholdsStyle"] = object{"mode": "dashed"}
		}
		o["custom"] = custom
	case Timeline:
		o["mappings"] = []object{{"type": "value", "options": object{
			"0": object{"text": "down", "color": "red", "index": 0}, "1": object{"text": "up", "color": "green", "index": 1},
		}}}
	}
	return o
}

// transformations make one table of the queries of a panel, with the columns
// in order and under their titles.
func (p Panel) transformations() []object {
	order, titles, hidden := object{}, object{}, object{"Time": true}
	for _, label := range []string{
		"node", "namespace", "pod", "container", "qos", "workload", "workload_kind", "scope", "resource", "reason", "version", "goarch",
	} {
		hidden[label] = !slices.ContainsFunc(p.Columns, func(c Column) bool { return c.From == label })
	}
	for i, c := range p.Columns {
		for _, name := range p.fieldNames(c) {
			order[name], titles[name] = i, c.Title
		}
	}
	return []object{
		{"id": "merge", "options": object{}},
		{"id": "organize", "options": object{"excludeByName": hidden, "indexByName": order, "renameByName": titles}},
		{"id": "sortBy", "options": object{"fields": object{}, "sort": []object{{"field": p.Order.Title, "desc": p.Order.Descending}}}},
	}
}

// fieldNames returns what Grafana may call a column before it is renamed: the
// value of a panel's only query has no number.
func (p Panel) fieldNames(c Column) []string {
	isValue := slices.ContainsFunc(p.Queries, func(q Query) bool { return q.Ref == c.From })
	switch {
	case !isValue:
		return []string{c.From}
	case len(p.Queries) == 1:
		return []string{"Value", "Value #" + c.From}
	}
	return []string{"Value #" + c.From}
}

func (p Panel) overrides() []object {
	all := []object{}
	for _, c := range p.Columns {
		var properties []object
		set := func(id string, value any) { properties = append(properties, object{"id": id, "value": value}) }
		if c.Unit != "" {
			set("unit", c.Unit)
		}
		if c.Warn != 0 || c.Bad != 0 {
			set("thresholds", thresholds(c.Warn, c.Bad))
			set("custom.cellOptions", object{"type": "color-text"})
		}
		if c.Link != "" {
			set("links", []object{{"title": "this container", "url": c.Link}})
		}
		if len(properties) > 0 {
			all = append(all, object{"matcher": object{"id": "byName", "options": c.Title}, "properties": properties})
		}
	}
	return all
}
