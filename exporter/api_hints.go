// SPDX-License-Identifier: Apache-2.0

package exporter

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/slicewatch/slicewatch/agent/snapshot"
	"github.com/slicewatch/slicewatch/cgroupfs"
)

// HintList is what /api/v1/hints answers with.
type HintList struct {
	// Time is when the sweep began that the list is of.
	Time  time.Time       `json:"time"`
	Hints []ContainerHint `json:"hints"`
}

// ContainerHint is the hint of one container, with what it has now. Amounts are
// in cores, seconds and bytes; what is not known is left out.
type ContainerHint struct {
	Namespace string `json:"namespace"`
	Pod       string `json:"pod"`
	Container string `json:"container"`
	// Type is "app" or "sidecar", empty while it is not known.
	Type         string `json:"type,omitempty"`
	QoS          string `json:"qos"`
	WorkloadKind string `json:"workloadKind,omitempty"`
	Workload     string `json:"workload,omitempty"`

	Now  Resources `json:"now"`
	Hint Resources `json:"hint"`
	// NoCPULimit says that the hint is to have no CPU limit.
	NoCPULimit      bool     `json:"noCPULimit,omitempty"`
	CPUBurstSeconds *float64 `json:"cpuBurstSeconds,omitempty"`

	Policy     string       `json:"policy"`
	Confidence float64      `json:"confidence"`
	Urgent     bool         `json:"urgent"`
	Published  *time.Time   `json:"published,omitempty"`
	Reasons    []HintReason `json:"reasons"`
}

// Resources are requests and limits. A limit that is not set is left out.
type Resources struct {
	CPURequestCores    *float64 `json:"cpuRequestCores,omitempty"`
	CPULimitCores      *float64 `json:"cpuLimitCores,omitempty"`
	MemoryRequestBytes *float64 `json:"memoryRequestBytes,omitempty"`
	MemoryLimitBytes   *float64 `json:"memoryLimitBytes,omitempty"`
}

// HintReason is why a hint is what it is.
type HintReason struct {
	Code     string             `json:"code"`
	Resource string             `json:"resource"`
	Text     string             `json:"text"`
	Evidence map[string]float64 `json:"evidence,omitempty"`
}

// hintQuery is what a request asks for.
type hintQuery struct{ namespace, pod, workload string }

func parseHintQuery(values url.Values) (hintQuery, error) {
	var q hintQuery
	for name, given := range values {
		if len(given) != 1 {
			return q, fmt.Errorf("%s is given %d times; give it once", name, len(given))
		}
		switch name {
		case "namespace":
			q.namespace = given[0]
		case "pod":
			q.pod = given[0]
		case "workload":
			q.workload = given[0]
		default:
			return q, fmt.Errorf("there is no parameter %q; there are namespace, pod and workload", name)
		}
	}
	return q, nil
}

func (q *hintQuery) matches(id *snapshot.ContainerIdentity) bool {
	return (q.namespace == "" || id.Namespace == q.namespace) && (q.pod == "" || id.Pod == q.pod) &&
		(q.workload == "" || id.Workload == q.workload)
}

// serveHints answers with the hints of the containers that there are.
func (s *Server) serveHints(w http.ResponseWriter, r *http.Request) {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		refuse(w, http.StatusBadRequest, "the query cannot be read: "+err.Error())
		return
	}
	q, err := parseHintQuery(values)
	if err != nil {
		refuse(w, http.StatusBadRequest, err.Error())
		return
	}
	list := HintList{Hints: []ContainerHint{}}
	if !s.config.Store.View(func(snap *snapshot.Snapshot) {
		list.Time = snap.Taken
		for i := range snap.Containers {
			if c := &snap.Containers[i]; c.Hint != nil && q.matches(c.Identity) {
				list.Hints = append(list.Hints, containerHint(c))
			}
		}
	}) {
		refuse(w, http.StatusServiceUnavailable, "the first sweep is not finished; try again in a second")
		return
	}
	answerJSON(w, http.StatusOK, list)
}

func containerHint(c *snapshot.Container) ContainerHint {
	id, h := c.Identity, c.Hint
	out := ContainerHint{
		Namespace: id.Namespace, Pod: id.Pod, Container: id.Name, Type: string(id.Type), QoS: c.QoS.String(),
		WorkloadKind: id.WorkloadKind, Workload: id.Workload, Now: present(c),
		Hint: Resources{
			CPURequestCores: pointer(h.CPURequestCores), CPULimitCores: pointer(h.CPULimitCores),
			MemoryRequestBytes: pointer(h.MemoryRequestBytes), MemoryLimitBytes: pointer(h.MemoryLimitBytes),
		},
		NoCPULimit: h.NoCPULimit, CPUBurstSeconds: pointer(h.CPUBurstSeconds),
		Policy: h.Policy, Confidence: h.Confidence, Urgent: h.Urgent, Reasons: []HintReason{},
	}
	if !h.Published.IsZero() {
		published := h.Published.UTC()
		out.Published = &published
	}
	for _, r := range h.Reasons {
		reason := HintReason{Code: string(r.Code), Resource: r.Resource.String(), Text: strings.ToValidUTF8(r.Text, "\uFFFD")}
		for _, e := range r.Evidence {
			if reason.Evidence == nil {
				reason.Evidence = make(map[string]float64, len(r.Evidence))
			}
			reason.Evidence[e.Name] = e.Value
		}
		out.Reasons = append(out.Reasons, reason)
	}
	return out
}

// present returns what a container has now.
func present(c *snapshot.Container) Resources {
	var now Resources
	if n := c.Identity.CPURequestMillis; n.Known {
		now.CPURequestCores = pointer(snapshot.Quantity{V: float64(n.N) / 1000, Known: true})
	}
	if n := c.Identity.MemoryRequestBytes; n.Known {
		now.MemoryRequestBytes = pointer(snapshot.Quantity{V: float64(n.N), Known: true})
	}
	quota, ok := c.Current.Get(cgroupfs.CPUQuota)
	if period, ok2 := c.Current.Get(cgroupfs.CPUPeriod); ok && ok2 && quota != cgroupfs.Unlimited && period > 0 {
		now.CPULimitCores = pointer(snapshot.Quantity{V: float64(quota) / float64(period), Known: true})
	}
	if limit, ok := c.Current.Get(cgroupfs.MemoryMax); ok && limit != cgroupfs.Unlimited {
		now.MemoryLimitBytes = pointer(snapshot.Quantity{V: float64(limit), Known: true})
	}
	return now
}

func pointer(q snapshot.Quantity) *float64 {
	if !q.Known {
		return nil
	}
	return &q.V
}
