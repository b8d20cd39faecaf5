// SPDX-License-Identifier: Apache-2.0

package pods

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net/http"
	"reflect"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apimachinery/pkg/watch"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

// client can do nothing but read pods.
type client struct {
	pods typedcorev1.PodInterface
	host string
	http *http.Client
}

// closeIdle closes the connections that nobody uses.
func (c *client) closeIdle() { utilnet.CloseIdleConnectionsFor(c.http.Transport) }

// newClient returns a client that asks in protobuf.
func newClient(restConfig *rest.Config) (*client, error) {
	restConfig = rest.CopyConfig(restConfig)
	restConfig.ContentType = runtime.ContentTypeProtobuf
	restConfig.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	restConfig.UserAgent = "slicewatch"
	restConfig.WarningHandlerWithContext = rest.NoWarnings{}
	httpClient, err := rest.HTTPClientFor(restConfig)
	if err != nil {
		return nil, contentError{err}
	}
	core, err := typedcorev1.NewForConfigAndClient(restConfig, httpClient)
	if err != nil {
		return nil, contentError{err}
	}
	return &client{pods: core.Pods(metav1.NamespaceAll), host: restConfig.Host, http: httpClient}, nil
}

// listWatch asks for the pods of this node only, and reports the outcome of each
// request.
func (s *Source) listWatch() cache.ListerWatcher {
	ours := fields.OneTermEqualSelector("spec.nodeName", s.cfg.NodeName).String()
	lw := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			options.FieldSelector = ours
			api := s.current()
			list, err := api.pods.List(ctx, options)
			if err != nil {
				// An answer alone is no good news: the watch may be forbidden.
				s.answered(ctx, hungUp(err), api.host)
			}
			return list, err
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			options.FieldSelector = ours
			api := s.current()
			w, err := api.pods.Watch(ctx, options)
			s.answered(ctx, cmp.Or(err, unanswered(w, err)), api.host)
			return w, err
		},
	}
	return listThenWatch{lw}
}

// current returns the client for the next request. After a failure it reads the
// kubeconfig and the files that it names again, whose authority or credentials may
// have been renewed; one that cannot be used now may be half written, and changes
// nothing. client-go reads a service account's token again by itself.
func (s *Source) current() *client {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cfg.Kubeconfig == "" || s.reason == "" {
		return s.client
	}
	restConfig, err := s.load()
	if err != nil {
		return s.client
	}
	if renewed, err := newClient(restConfig); err == nil {
		s.client.closeIdle()
		s.client = renewed
	}
	return s.client
}

// listThenWatch keeps client-go from listing by a watch that begins with all
// that there is. For each of those the API server makes an event of every pod
// of the cluster and sorts them before it looks at the field selector
// (newCacheIntervalFromStore in apiserver's watch_cache_interval.go); a list it
// answers from its index of pods by node.
type listThenWatch struct{ *cache.ListWatch }

// IsWatchListSemanticsUnSupported is what the reflector asks.
func (listThenWatch) IsWatchListSemanticsUnSupported() bool { return true }

// errUnanswered says that somebody took the connection and closed it: a proxy
// in front of an API server that is away.
var errUnanswered = errors.New("the connection was closed before an answer came")

// hungUp puts a list that such a proxy ended into the same words.
func hungUp(err error) error {
	if errors.Is(err, io.EOF) {
		return errUnanswered
	}
	return err
}

// unanswered tells a watch that never began. For a connection that ends before
// the answer client-go gives no error but a watch that is over already
// (rest.Request.Watch), and its reflector tries again and again.
func unanswered(w watch.Interface, err error) error {
	if err == nil && reflect.TypeOf(w) == reflect.TypeOf(watch.NewEmptyWatch()) {
		return errUnanswered
	}
	return nil
}
