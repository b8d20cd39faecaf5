// SPDX-License-Identifier: Apache-2.0

// Package lifecycle starts the agent's services in order, keeps them running
// together, and stops them in the reverse order when one fails or the agent is
// told to end. It owns the order and the errors, and must not know what any
// service does.
package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"time"
)

// Service is one part of the agent that runs as long as the agent.
//
// A Service may also be an Initializer and a Closer. It is not started again
// after it ended.
type Service interface {
	// Name says who it is in errors, in lower case: "web server".
	Name() string
	// Run works until ctx ends, and then returns nil or ctx's error. Any
	// other return, nil included, is taken as a failure that ends all.
	Run(ctx context.Context) error
}

// Initializer is a Service that has something to do, or to fail at, before
// any service runs. Init must not leave goroutines behind.
type Initializer interface {
	Init(ctx context.Context) error
}

// Closer is a Service that holds something until the end. Close is called
// once if Init succeeded (or there is none): after Run returned, or without a
// Run when a later service failed to initialize.
type Closer interface {
	Close() error
}

// Group is services in the order in which they start.
type Group struct {
	Services []Service
	// StopTimeout is how long one service may take to return once its context
	// ended; 0 is 10 s. One that takes longer is left behind with an error, so
	// that those started before it still get to save what they hold.
	StopTimeout time.Duration
}

const defaultStopTimeout = 10 * time.Second

// Run initializes the services in order, runs them all, and waits until ctx
// ends or one of them fails. Then it stops them one by one, the last started
// first: a service's context ends only once all after it have stopped.
//
// It returns nil if ctx ended and all stopped well. Else the first error comes
// first in the text, with the name of its service; what then went wrong while
// stopping is joined to it.
//
// A panic in a method of a service is returned as a *PanicError, so that the
// other services stop in order. Panics in goroutines that a service starts
// itself end the process, as anywhere in Go.
func (g Group) Run(ctx context.Context) error {
	started := make([]*runner, 0, len(g.Services))
	for _, service := range g.Services {
		if err := initialize(ctx, service); err != nil {
			return errors.Join(append([]error{err}, closeAll(started)...)...)
		}
		started = append(started, &runner{service: service, done: make(chan struct{})})
	}
	return errors.Join(g.run(ctx, started)...)
}

// runner is a service that was initialized.
type runner struct {
	service Service
	stop    context.CancelFunc
	done    chan struct{} // closed after err is set
	err     error
}

func (g Group) run(ctx context.Context, started []*runner) []error {
	// Services do not see ctx end: they are told one by one.
	detached := context.WithoutCancel(ctx)
	failed := make(chan *runner, len(started))
	for _, r := range started {
		var own context.Context
		own, r.stop = context.WithCancel(detached)
		go func() {
			defer close(r.done)
			r.err = r.run(own)
			if own.Err() == nil {
				failed <- r
			}
		}()
	}
	var errs []error
	select {
	case <-ctx.Done():
	case first := <-failed:
		<-first.done
		errs = append(errs, first.err)
		first.err = nil
	}
	for _, r := range slices.Backward(started) {
		errs = append(errs, g.stop(r)...)
	}
	return errs
}

// stop ends one service and returns what went wrong, Run first.
func (g Group) stop(r *runner) []error {
	timeout := g.StopTimeout
	if timeout == 0 {
		timeout = defaultStopTimeout
	}
	r.stop()
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case <-r.done:
	case <-timer.C:
		// Close is not for a service that still runs.
		return []error{fmt.Errorf("%s: did not stop within %s", r.service.Name(), timeout)}
	}
	return []error{r.err, r.close()}
}

// run calls Run and judges its return.
func (r *runner) run(ctx context.Context) error {
	err := guard(func() error { return r.service.Run(ctx) })
	switch {
	case ctx.Err() == nil && err == nil:
		return fmt.Errorf("%s: ended before it was told to", r.service.Name())
	case err == nil, ctx.Err() != nil && errors.Is(err, ctx.Err()):
		return nil
	}
	return fmt.Errorf("%s: %w", r.service.Name(), err)
}

func (r *runner) close() error {
	closer, ok := r.service.(Closer)
	if !ok {
		return nil
	}
	if err := guard(closer.Close); err != nil {
		return fmt.Errorf("close %s: %w", r.service.Name(), err)
	}
	return nil
}

// closeAll closes what was initialized but never ran, the last first.
func closeAll(started []*runner) []error {
	var errs []error
	for _, r := range slices.Backward(started) {
		errs = append(errs, r.close())
	}
	return errs
}

func initialize(ctx context.Context, service Service) error {
	initializer, ok := service.(Initializer)
	if !ok {
		return nil
	}
	if err := guard(func() error { return initializer.Init(ctx) }); err != nil {
		return fmt.Errorf("start %s: %w", service.Name(), err)
	}
	return nil
}

// PanicError is a panic that was turned into an error.
type PanicError struct {
	Value any
	Stack []byte // of the goroutine that panicked
}

// Error returns the panic's value and, below it, the stack.
func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v\n%s", e.Value, e.Stack) }

// Unwrap returns the panic's value where that is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

func guard(call func() error) (err error) {
	defer func() {
		if value := recover(); value != nil {
			err = &PanicError{Value: value, Stack: debug.Stack()}
		}
	}()
	return call()
}
