// SPDX-License-Identifier: Apache-2.0

package hints

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// cores spells an amount of CPU as Kubernetes does: "250m".
func cores(v float64) string {
	millis := v * 1000
	if millis > 0 && millis < 9.95 {
		return strconv.FormatFloat(millis, 'f', 1, 64) + "m"
	}
	return strconv.FormatFloat(math.Round(millis), 'f', 0, 64) + "m"
}

// bytes spells an amount of memory with four digits: "512Mi", "1.25Gi".
func bytes(v float64) string {
	for _, unit := range []struct {
		size float64
		name string
	}{{1 << 30, "Gi"}, {1 << 20, "Mi"}, {1 << 10, "Ki"}} {
		if v >= unit.size {
			return significant(v/unit.size) + unit.name
		}
	}
	return significant(v)
}

func significant(v float64) string {
	decimals := 0
	switch {
	case v < 10:
		decimals = 2
	case v < 100:
		decimals = 1
	}
	text := strconv.FormatFloat(v, 'f', decimals, 64)
	if strings.Contains(text, ".") {
		text = strings.TrimRight(strings.TrimRight(text, "0"), ".")
	}
	return text
}

func percent(ratio float64) string {
	v := ratio * 100
	if v < 10 {
		return significant(math.Round(v*10)/10) + "%"
	}
	return strconv.FormatFloat(v, 'f', 0, 64) + "%"
}

func days(v float64) string {
	if v == 1 {
		return "day"
	}
	return significant(v) + " days"
}

// duration spells a time in its two largest units at most: "2d4h", "3h", "45s".
func duration(d time.Duration) string {
	d = d.Round(time.Second)
	if d <= 0 {
		return "0s"
	}
	parts := []struct {
		size time.Duration
		name string
	}{{24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "m"}, {time.Second, "s"}}
	for i, part := range parts {
		if d < part.size {
			continue
		}
		text := fmt.Sprintf("%d%s", d/part.size, part.name)
		if rest := d % part.size; i+1 < len(parts) && rest >= parts[i+1].size {
			text += fmt.Sprintf("%d%s", rest/parts[i+1].size, parts[i+1].name)
		}
		return text
	}
	return "0s"
}

// millis spells a time in milliseconds.
func millis(seconds float64) string { return significant(seconds*1000) + " ms" }
