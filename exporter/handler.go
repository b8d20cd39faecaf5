// SPDX-License-Identifier: Apache-2.0

package exporter

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"sync"

	"github.com/klauspost/compress/gzhttp"
	"github.com/klauspost/compress/gzip"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

const (
	maxScrapes = 8
	// retryAfterSeconds is for a client that was refused: a scrape takes tens
	// of milliseconds.
	retryAfterSeconds = 1
	// maxPooledBytes keeps one huge uncompressed answer from staying in
	// memory for good.
	maxPooledBytes = 1 << 20
)

// newScrapeHandler serves what g gathers in the format and encoding that the
// client asks for.
func newScrapeHandler(g prometheus.TransactionalGatherer, log *slog.Logger) (http.Handler, error) {
	// The standard library's gzip is most of a scrape's cost, so promhttp
	// does not compress.
	metrics := promhttp.HandlerForTransactional(g, promhttp.HandlerOpts{
		ErrorLog:           scrapeErrorLog{log},
		ErrorHandling:      promhttp.ContinueOnError,
		DisableCompression: true,
		EnableOpenMetrics:  true,
	})
	return compressed(metrics)
}

// compressed returns what serves next's answers compressed to clients that
// take it, and holds them in memory until they are whole.
func compressed(next http.Handler) (http.Handler, error) {
	compress, err := gzhttp.NewWrapper(
		gzhttp.CompressionLevel(gzip.BestSpeed),
		gzhttp.EnableZstd(false),
		gzhttp.ContentTypeFilter(gzhttp.CompressAllContentTypeFilter),
	)
	if err != nil {
		return nil, fmt.Errorf("set up compression of answers: %w", err)
	}
	return &bufferingHandler{next: compress(next)}, nil
}

// scrapeErrorLog is promhttp's ErrorLog.
type scrapeErrorLog struct{ log *slog.Logger }

// Println logs what promhttp has to say of a failed scrape.
func (l scrapeErrorLog) Println(v ...any) {
	l.log.Error("Scrape failed in part", "err", fmt.Sprint(v...))
}

// bufferingHandler lets next answer into memory and sends that afterwards. A
// gatherer's metrics are locked while they are encoded, so a client that
// reads slowly must not be the one who says how long that takes.
type bufferingHandler struct {
	next    http.Handler
	buffers sync.Pool
}

// ServeHTTP implements http.Handler.
func (h *bufferingHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := h.buffers.Get().(*bytes.Buffer)
	if body == nil {
		body = &bytes.Buffer{}
	}
	defer func() {
		if body.Cap() <= maxPooledBytes {
			body.Reset()
			h.buffers.Put(body)
		}
	}()
	held := &heldResponse{header: w.Header(), body: body, status: http.StatusOK}
	h.next.ServeHTTP(held, r)
	w.Header().Set("Content-Length", strconv.Itoa(body.Len()))
	w.WriteHeader(held.status)
	if r.Method != http.MethodHead {
		// An error here is the client's going away.
		_, _ = w.Write(body.Bytes())
	}
}

// heldResponse is an http.ResponseWriter that sends nothing.
type heldResponse struct {
	header http.Header
	body   *bytes.Buffer
	status int
}

// Header implements http.ResponseWriter.
func (w *heldResponse) Header() http.Header { return w.header }

// WriteHeader implements http.ResponseWriter.
func (w *heldResponse) WriteHeader(status int) { w.status = status }

// Write implements http.ResponseWriter.
func (w *heldResponse) Write(b []byte) (int, error) { return w.body.Write(b) }

// scrapeLimit answers with 503 what comes while maxScrapes are being served.
type scrapeLimit struct {
	running chan struct{}
	refused func()
}

func newScrapeLimit(refused func()) *scrapeLimit {
	return &scrapeLimit{running: make(chan struct{}, maxScrapes), refused: refused}
}

func (l *scrapeLimit) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case l.running <- struct{}{}:
			defer func() { <-l.running }()
			next.ServeHTTP(w, r)
		default:
			l.refused()
			w.Header().Set("Retry-After", strconv.Itoa(retryAfterSeconds))
			http.Error(w, fmt.Sprintf("%d scrapes are being served already; try again later", maxScrapes),
				http.StatusServiceUnavailable)
		}
	})
}

// readOnly refuses all methods but GET and HEAD.
func readOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "only GET and HEAD are served here", http.StatusMethodNotAllowed)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// serverErrorLog passes net/http's own messages on, which are about what
// clients did wrong.
type serverErrorLog struct{ log *slog.Logger }

// Write implements io.Writer for log.New.
func (l serverErrorLog) Write(p []byte) (int, error) {
	l.log.Debug("HTTP connection", "err", string(bytes.TrimSpace(p)))
	return len(p), nil
}
