// SPDX-License-Identifier: Apache-2.0

package exporter

import (
	"net"
	"sync"
	"sync/atomic"
)

// maxConnections bounds the memory that clients can make one address take: an
// idle TLS connection takes about 40 KiB, so that all of them stay below 10 MiB.
const maxConnections = 256

// limitedListener closes what comes while it has maxConnections open. Closing
// says at once what is the matter, where a queue would make a probe time out.
type limitedListener struct {
	net.Listener
	open    atomic.Int64
	refused func()
}

// Accept implements net.Listener.
func (l *limitedListener) Accept() (net.Conn, error) {
	for {
		connection, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if l.open.Add(1) <= maxConnections {
			return &countedConnection{Conn: connection, done: sync.OnceFunc(func() { l.open.Add(-1) })}, nil
		}
		l.open.Add(-1)
		l.refused()
		// Nothing was sent that could be lost.
		_ = connection.Close()
	}
}

type countedConnection struct {
	net.Conn
	done func()
}

// Close implements net.Conn.
func (c *countedConnection) Close() error {
	c.done()
	return c.Conn.Close()
}
