// SPDX-License-Identifier: Apache-2.0

//go:build linux

package node

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/slicewatch/slicewatch/test/kubernetes/guestapi"
	"github.com/slicewatch/slicewatch/test/kubernetes/pki"
)

// Client asks the helper on the node. It is safe for concurrent use.
type Client struct {
	address string
	tls     *tls.Config
	http    *http.Client
}

// NewClient returns a client of the helper behind port of this machine, which
// authenticates with pair; authority is the file of the cluster's certificate.
func NewClient(port int, pair pki.Pair, authority string) (*Client, error) {
	certificate, err := tls.LoadX509KeyPair(pair.Certificate, pair.Key)
	if err != nil {
		return nil, fmt.Errorf("read the credentials for the node: %w", err)
	}
	content, err := os.ReadFile(authority)
	if err != nil {
		return nil, fmt.Errorf("read the credentials for the node: %w", err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(content)
	c := &Client{
		address: fmt.Sprintf("127.0.0.1:%d", port),
		tls: &tls.Config{
			Certificates: []tls.Certificate{certificate}, RootCAs: pool, NextProtos: []string{"http/1.1"},
		},
	}
	c.http = &http.Client{Transport: &http.Transport{TLSClientConfig: c.tls}}
	return c, nil
}

// CommandError says that a command on the node ended with another status than 0.
type CommandError struct {
	Command []string
	// Status is the exit status, or why there is none.
	Status string
	Output string
}

// Error implements error.
func (e *CommandError) Error() string {
	return fmt.Sprintf("%s on the node: status %s: %s", strings.Join(e.Command, " "), e.Status, e.Output)
}

// Ping fails as long as the helper does not answer.
func (c *Client) Ping(ctx context.Context) error {
	_, err := c.Run(ctx, nil, "true")
	return err
}

// Shell runs a script of busybox's shell as root and returns its output.
func (c *Client) Shell(ctx context.Context, script string) (string, error) {
	return c.Run(ctx, strings.NewReader(script), "sh")
}

// Run runs a command as root, with input as its standard input, and returns
// its output, errors included. A status other than 0 is a *CommandError.
func (c *Client) Run(ctx context.Context, input io.Reader, command ...string) (string, error) {
	var output bytes.Buffer
	status, err := c.stream(ctx, input, &output, command)
	if err != nil {
		return output.String(), fmt.Errorf("run %s on the node: %w", command[0], err)
	}
	if status != "0" {
		return output.String(), &CommandError{Command: command, Status: status, Output: output.String()}
	}
	return output.String(), nil
}

// Stream is Run with the output as it comes. It returns the exit status.
func (c *Client) Stream(ctx context.Context, input io.Reader, output io.Writer, command ...string) (int, error) {
	status, err := c.stream(ctx, input, output, command)
	if err != nil {
		return 0, fmt.Errorf("run %s on the node: %w", command[0], err)
	}
	number, err := strconv.Atoi(status)
	if err != nil {
		return 0, &CommandError{Command: command, Status: status}
	}
	return number, nil
}

func (c *Client) stream(ctx context.Context, input io.Reader, output io.Writer, command []string) (status string, err error) {
	answer, err := c.do(ctx, http.MethodPost, guestapi.RunPath+"?"+url.Values{"arg": command}.Encode(), input)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	if _, err := io.Copy(output, answer.Body); err != nil {
		return "", err
	}
	// Trailers are there once the body has been read to its end.
	if status = answer.Trailer.Get(guestapi.StatusTrailer); status == "" {
		return "", errors.New("the node's helper gave no exit status")
	}
	return status, nil
}

// Cgroups reads the files of the kubepods tree, all of them if none is named.
func (c *Client) Cgroups(ctx context.Context, names ...string) (guestapi.Tree, error) {
	var tree guestapi.Tree
	answer, err := c.do(ctx, http.MethodGet, guestapi.CgroupsPath+"?"+url.Values{"file": names}.Encode(), nil)
	if err != nil {
		return tree, fmt.Errorf("read the node's cgroups: %w", err)
	}
	defer answer.Body.Close()
	if err := json.NewDecoder(answer.Body).Decode(&tree); err != nil {
		return tree, fmt.Errorf("read the node's cgroups: %w", err)
	}
	return tree, nil
}

// ClockOffset returns by how much the node's clock is ahead of this machine's,
// and by how much that may be wrong.
func (c *Client) ClockOffset(ctx context.Context) (offset, uncertainty time.Duration, err error) {
	const tries = 9
	for i := range tries {
		sent := time.Now()
		answer, err := c.do(ctx, http.MethodGet, guestapi.TimePath, nil)
		if err != nil {
			return 0, 0, fmt.Errorf("read the node's clock: %w", err)
		}
		text, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		half := time.Since(sent) / 2
		if err != nil {
			return 0, 0, fmt.Errorf("read the node's clock: %w", err)
		}
		nanoseconds, err := strconv.ParseInt(string(text), 10, 64)
		if err != nil {
			return 0, 0, fmt.Errorf("read the node's clock: %w", err)
		}
		if i == 0 || half < uncertainty {
			offset, uncertainty = time.Unix(0, nanoseconds).Sub(sent.Add(half)), half
		}
	}
	return offset, uncertainty, nil
}

func (c *Client) do(ctx context.Context, method, path string, body io.Reader) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, method, "https://"+c.address+path, body)
	if err != nil {
		return nil, err
	}
	answer, err := c.http.Do(request)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode != http.StatusOK {
		defer answer.Body.Close()
		text, _ := io.ReadAll(io.LimitReader(answer.Body, 4096))
		return nil, fmt.Errorf("%s: %s", answer.Status, bytes.TrimSpace(text))
	}
	return answer, nil
}

// DialContext connects from the node to an address that only the node can
// reach: a pod's, the kubelet's. It has the form that http.Transport wants.
func (c *Client) DialContext(ctx context.Context, _, address string) (net.Conn, error) {
	dialer := tls.Dialer{Config: c.tls}
	connection, err := dialer.DialContext(ctx, "tcp", c.address)
	if err != nil {
		return nil, fmt.Errorf("connect to %s through the node: %w", address, err)
	}
	if _, err := fmt.Fprintf(connection, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n", address, address); err != nil {
		connection.Close()
		return nil, fmt.Errorf("connect to %s through the node: %w", address, err)
	}
	reader := bufio.NewReader(connection)
	answer, err := http.ReadResponse(reader, &http.Request{Method: http.MethodConnect})
	if err != nil {
		connection.Close()
		return nil, fmt.Errorf("connect to %s through the node: %w", address, err)
	}
	if answer.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(answer.Body, 4096))
		connection.Close()
		return nil, fmt.Errorf("connect to %s through the node: %s: %s", address, answer.Status, bytes.TrimSpace(text))
	}
	if reader.Buffered() > 0 {
		// What speaks first is lost with the reader; HTTP and TLS do not.
		connection.Close()
		return nil, fmt.Errorf("connect to %s through the node: it spoke first", address)
	}
	return connection, nil
}
