// SPDX-License-Identifier: Apache-2.0

package containers

import (
	"context"
	"net"
	"os"
	"sync"
	"testing"

	apievents "github.com/containerd/containerd/api/events"
	containersapi "github.com/containerd/containerd/api/services/containers/v1"
	eventsapi "github.com/containerd/containerd/api/services/events/v1"
	versionapi "github.com/containerd/containerd/api/services/version/v1"
	"github.com/containerd/containerd/api/types"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// fakeContainerd implements what the source uses of containerd's services.
type fakeContainerd struct {
	containersapi.UnimplementedContainersServer
	versionapi.UnimplementedVersionServer
	eventsapi.UnimplementedEventsServer
	server *grpc.Server

	mu          sync.Mutex
	containers  map[string]*containersapi.Container
	subscribers map[chan *types.Envelope]bool
	filters     []string
	gets        int
	ready       chan struct{} // closed at the first subscription
}

// startContainerd listens on the socket until stopped.
func startContainerd(t *testing.T, socket string) *fakeContainerd {
	t.Helper()
	f := &fakeContainerd{
		server: grpc.NewServer(), containers: map[string]*containersapi.Container{},
		subscribers: map[chan *types.Envelope]bool{}, ready: make(chan struct{}),
	}
	containersapi.RegisterContainersServer(f.server, f)
	versionapi.RegisterVersionServer(f.server, f)
	eventsapi.RegisterEventsServer(f.server, f)
	serve(t, f.server, socket)
	return f
}

func serve(t *testing.T, server *grpc.Server, socket string) {
	t.Helper()
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := server.Serve(listener); err != nil {
			t.Errorf("serve: %v", err)
		}
	}()
	t.Cleanup(func() {
		server.Stop()
		<-done
		os.Remove(socket)
	})
}

func (f *fakeContainerd) add(c *containersapi.Container) {
	f.mu.Lock()
	f.containers[c.ID] = c
	f.mu.Unlock()
	f.publish(topicCreate, &apievents.ContainerCreate{ID: c.ID, Image: c.Image})
}

func (f *fakeContainerd) remove(id string) {
	f.mu.Lock()
	delete(f.containers, id)
	f.mu.Unlock()
	f.publish(topicDelete, &apievents.ContainerDelete{ID: id})
}

func (f *fakeContainerd) publish(topic string, event proto.Message) {
	value, err := proto.Marshal(event)
	if err != nil {
		panic(err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for subscriber := range f.subscribers {
		subscriber <- &types.Envelope{
			Timestamp: timestamppb.Now(), Namespace: criNamespace, Topic: topic,
			Event: &anypb.Any{TypeUrl: string(event.ProtoReflect().Descriptor().FullName()), Value: value},
		}
	}
}

func (f *fakeContainerd) Version(context.Context, *emptypb.Empty) (*versionapi.VersionResponse, error) {
	return &versionapi.VersionResponse{Version: "v0.0.0-fake"}, nil
}

func (f *fakeContainerd) Get(ctx context.Context, r *containersapi.GetContainerRequest) (*containersapi.GetContainerResponse, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	if ns := md.Get("containerd-namespace"); len(ns) != 1 || ns[0] != criNamespace {
		return nil, status.Errorf(codes.FailedPrecondition, "namespace %q", ns)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.gets++
	c, ok := f.containers[r.ID]
	if !ok {
		return nil, status.Errorf(codes.NotFound, "container %q: not found", r.ID)
	}
	return &containersapi.GetContainerResponse{Container: c}, nil
}

func (f *fakeContainerd) Subscribe(r *eventsapi.SubscribeRequest, stream eventsapi.Events_SubscribeServer) error {
	events := make(chan *types.Envelope, 4096)
	f.mu.Lock()
	f.filters = r.Filters
	f.subscribers[events] = true
	select {
	case <-f.ready:
	default:
		close(f.ready)
	}
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		delete(f.subscribers, events)
		f.mu.Unlock()
	}()
	for {
		select {
		case event := <-events:
			if err := stream.Send(event); err != nil {
				return err
			}
		case <-stream.Context().Done():
			return nil
		}
	}
}
