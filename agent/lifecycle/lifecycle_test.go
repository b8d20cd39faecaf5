// SPDX-License-Identifier: Apache-2.0

package lifecycle

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errBroken = errors.New("broken")

// diary is what the services of a test did, in order.
type diary struct {
	mu      sync.Mutex
	entries []string
}

func (d *diary) write(entry string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.entries = append(d.entries, entry)
}

// fake is a service that does as it is told. Without a run it waits for its
// context.
type fake struct {
	name    string
	diary   *diary
	init    error
	run     func(context.Context) error
	closing error
}

func (f *fake) Name() string { return f.name }

func (f *fake) Init(context.Context) error {
	f.diary.write("init " + f.name)
	return f.init
}

func (f *fake) Run(ctx context.Context) error {
	if f.run != nil {
		return f.run(ctx)
	}
	<-ctx.Done()
	f.diary.write("stopped " + f.name)
	return ctx.Err()
}

func (f *fake) Close() error {
	f.diary.write("close " + f.name)
	return f.closing
}

// fails returns a run function that returns err a second after it began.
func fails(err error) func(context.Context) error {
	return func(context.Context) error {
		time.Sleep(time.Second)
		return err
	}
}

func TestRun(t *testing.T) {
	panics := func(context.Context) error { panic(errBroken) }
	late := func(ctx context.Context) error { <-ctx.Done(); return errBroken }
	tests := map[string]struct {
		services []*fake
		diary    []string
		err      string // the first line; empty for none
		is       error
	}{
		"ends with the context": {
			services: []*fake{{name: "a"}, {name: "b"}, {name: "c"}},
			diary: []string{"init a", "init b", "init c",
				"stopped c", "close c", "stopped b", "close b", "stopped a", "close a"},
		},
		"no services": {},
		"a start fails": {
			services: []*fake{{name: "a"}, {name: "b"}, {name: "c", init: errBroken}, {name: "d"}},
			diary:    []string{"init a", "init b", "init c", "close b", "close a"},
			err:      "start c: broken",
			is:       errBroken,
		},
		"a service fails": {
			services: []*fake{{name: "a"}, {name: "b", run: fails(errBroken)}, {name: "c"}},
			diary:    []string{"init a", "init b", "init c", "stopped c", "close c", "close b", "stopped a", "close a"},
			err:      "b: broken",
			is:       errBroken,
		},
		"a service ends early without an error": {
			services: []*fake{{name: "a"}, {name: "b", run: fails(nil)}},
			diary:    []string{"init a", "init b", "close b", "stopped a", "close a"},
			err:      "b: ended before it was told to",
		},
		"a service ends with another's context error": {
			services: []*fake{{name: "a", run: fails(context.DeadlineExceeded)}},
			diary:    []string{"init a", "close a"},
			err:      "a: context deadline exceeded",
			is:       context.DeadlineExceeded,
		},
		"a service panics": {
			services: []*fake{{name: "a"}, {name: "b", run: panics}},
			diary:    []string{"init a", "init b", "close b", "stopped a", "close a"},
			err:      "b: panic: broken",
			is:       errBroken,
		},
		"the first error comes first": {
			services: []*fake{{name: "a", closing: errors.New("disk full")}, {name: "b", run: late}, {name: "c", run: fails(errBroken)}},
			diary:    []string{"init a", "init b", "init c", "close c", "close b", "stopped a", "close a"},
			err:      "c: broken\nb: broken\nclose a: disk full",
			is:       errBroken,
		},
		"stopping fails": {
			services: []*fake{{name: "a", closing: errBroken}},
			diary:    []string{"init a", "stopped a", "close a"},
			err:      "close a: broken",
			is:       errBroken,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				var happened diary
				var group Group
				for _, service := range test.services {
					service.diary = &happened
					group.Services = append(group.Services, service)
				}
				err := group.Run(ctx)
				if diff := cmp.Diff(test.diary, happened.entries); diff != "" {
					t.Errorf("what happened (-want +got):\n%s", diff)
				}
				checkError(t, err, test.err, test.is)
			})
		})
	}
}

// checkError compares the error's text, without the stack of a panic.
func checkError(t *testing.T, err error, want string, is error) {
	t.Helper()
	var got string
	if err != nil {
		got, _, _ = strings.Cut(err.Error(), "\ngoroutine ")
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("error (-want +got):\n%s", diff)
	}
	if is != nil && !errors.Is(err, is) {
		t.Errorf("errors.Is(%v, %v) is false", err, is)
	}
}

func TestPanicCarriesItsStack(t *testing.T) {
	service := &fake{name: "a", diary: new(diary), run: func(context.Context) error { panic("what") }}
	err := Group{Services: []Service{service}}.Run(t.Context())
	var panicked *PanicError
	if !errors.As(err, &panicked) {
		t.Fatalf("error %v is no PanicError", err)
	}
	if panicked.Value != "what" || panicked.Unwrap() != nil {
		t.Errorf("panic value %v, unwrapped %v", panicked.Value, panicked.Unwrap())
	}
	if !strings.Contains(string(panicked.Stack), "TestPanicCarriesItsStack") {
		t.Errorf("the stack does not lead to the panic:\n%s", panicked.Stack)
	}
}

func TestServiceThatDoesNotStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		happened := new(diary)
		hangs := func(ctx context.Context) error {
			<-ctx.Done()
			time.Sleep(time.Hour)
			return nil
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		began := time.Now()
		err := Group{
			Services:    []Service{&fake{name: "a", diary: happened}, &fake{name: "b", diary: happened, run: hangs}},
			StopTimeout: 3 * time.Second,
		}.Run(ctx)
		if took := time.Since(began); took != time.Minute+3*time.Second {
			t.Errorf("Run took %s", took)
		}
		checkError(t, err, "b: did not stop within 3s", nil)
		if diff := cmp.Diff([]string{"init a", "init b", "stopped a", "close a"}, happened.entries); diff != "" {
			t.Errorf("what happened (-want +got):\n%s", diff)
		}
		time.Sleep(time.Hour) // let it go, so that the bubble is empty
	})
}

// plain has none of the optional methods.
type plain struct{}

func (plain) Name() string                  { return "plain" }
func (plain) Run(ctx context.Context) error { <-ctx.Done(); return nil }

func TestServiceWithoutInitAndClose(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := (Group{Services: []Service{plain{}}}).Run(ctx); err != nil {
		t.Error(err)
	}
}
