// SPDX-License-Identifier: Apache-2.0

package containers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// notContainerdError is a socket that takes connections and answers otherwise
// than containerd does.
type notContainerdError struct{ err error }

func (e notContainerdError) Error() string {
	return fmt.Sprintf("ask for containerd's version: %v", e.err)
}

// versionError says what it proves that containerd's version was not told. Only an
// answer can prove that somebody else answered: containerd itself may hang, or be
// stopped at that moment.
func versionError(err error) error {
	// gRPC hands on the fault of what is no HTTP/2 as text only.
	if status.Code(err) == codes.Unimplemented || strings.Contains(err.Error(), "error reading server preface: http2: ") {
		return notContainerdError{err}
	}
	return fmt.Errorf("ask for its version: %w", err)
}

// isTimeout knows the forms in which gRPC and containerd's client say it.
func isTimeout(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) || status.Code(err) == codes.DeadlineExceeded
}

// orClosed names the end of a stream that came without an error.
func orClosed(err error) error {
	if err == nil {
		return io.EOF
	}
	return err
}

// explain says what err, which a connection ended in, means and what mends it.
func explain(err error, address string) string {
	var other notContainerdError
	switch {
	case errors.Is(err, syscall.ENOTSOCK):
		return fmt.Sprintf("%s is not a socket: correct --containerd.address", address)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Sprintf("there is no socket %s: mount containerd's socket there, correct --containerd.address, "+
			"or set --containerd=off to do without names from the runtime", address)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Sprintf("the socket %s may not be opened: it needs root, or a group that containerd's [grpc] gid allows; "+
			"or set --containerd=off", address)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Sprintf("nobody listens on the socket %s: containerd is down, or was restarted with the socket alone mounted: "+
			"mount the directory that it is in", address)
	case errors.As(err, &other):
		return fmt.Sprintf("what listens on %s is not containerd: correct --containerd.address, or set --containerd=off (%v)", address, other.err)
	case isTimeout(err):
		return fmt.Sprintf("containerd at %s takes connections and does not answer in time: it hangs, or the node is overloaded: see its log (%v)", address, err)
	}
	return fmt.Sprintf("the connection to containerd at %s was lost: %v", address, err)
}
