// SPDX-License-Identifier: Apache-2.0

// Package client asks a running agent over its API and prints what it answers.
// It owns the other end of /api/v1 and how its answers look in a terminal. It
// must not know the command line, nor anything of the node that it runs on.
package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

const (
	timeout = 30 * time.Second
	// maxAnswerBytes bounds what is taken from a server that is not ours.
	maxAnswerBytes = 64 << 20
)

// Config says how to reach an agent.
type Config struct {
	// URL is the agent's, without a path unless a proxy puts one in front. It
	// may have a user and a password.
	URL string
	// TokenFile has a bearer token; empty is none.
	TokenFile string
	// CAFile has the authorities that the agent's certificate may come from;
	// empty is the system's.
	CAFile string
	// Insecure takes any certificate.
	Insecure bool
}

// Client asks one agent.
type Client struct {
	base  *url.URL
	token string
	http  *http.Client
}

// New returns a client. It fails for a URL or a file that cannot be used.
func New(cfg Config) (*Client, error) {
	base, err := url.Parse(cfg.URL)
	if err != nil {
		return nil, fmt.Errorf("read the agent's URL: %w", err)
	}
	if base.Scheme != "http" && base.Scheme != "https" || base.Host == "" {
		return nil, fmt.Errorf("the agent's URL %q is not of the form http://localhost:9779", cfg.URL)
	}
	c := &Client{base: base, http: &http.Client{Timeout: timeout}}
	if cfg.TokenFile != "" {
		raw, err := os.ReadFile(cfg.TokenFile)
		if err != nil {
			return nil, fmt.Errorf("read the token: %w", err)
		}
		c.token = strings.TrimSpace(string(raw))
	}
	settings := &tls.Config{InsecureSkipVerify: cfg.Insecure}
	if cfg.CAFile != "" {
		raw, err := os.ReadFile(cfg.CAFile)
		if err != nil {
			return nil, fmt.Errorf("read the certificate authorities: %w", err)
		}
		settings.RootCAs = x509.NewCertPool()
		if !settings.RootCAs.AppendCertsFromPEM(raw) {
			return nil, fmt.Errorf("there is no certificate in %s", cfg.CAFile)
		}
	}
	c.http.Transport = &http.Transport{TLSClientConfig: settings, Proxy: http.ProxyFromEnvironment}
	return c, nil
}

// get reads what the agent answers to a query into answer.
func (c *Client) get(ctx context.Context, path string, query url.Values, answer any) error {
	at := c.base.JoinPath(path)
	at.RawQuery = query.Encode()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, at.String(), http.NoBody)
	if err != nil {
		return fmt.Errorf("ask %s: %w", at.Redacted(), err)
	}
	request.Header.Set("Accept", "application/json")
	if c.token != "" {
		request.Header.Set("Authorization", "Bearer "+c.token)
	}
	response, err := c.http.Do(request)
	if err != nil {
		return fmt.Errorf("no agent answers at %s: %w; is one running there (slicewatch agent)? --url names another", c.base.Redacted(), unwrapURL(err))
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswerBytes))
	if err != nil {
		return fmt.Errorf("read the answer of %s: %w", at.Redacted(), err)
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %w", at.Redacted(), refusal(response, body))
	}
	if err := json.Unmarshal(body, answer); err != nil {
		return fmt.Errorf("%s does not answer as slicewatch does: %w", at.Redacted(), err)
	}
	return nil
}

// unwrapURL takes the URL off an error that gets it from its message.
func unwrapURL(err error) error {
	if wrapped := new(url.Error); errors.As(err, &wrapped) {
		return wrapped.Err
	}
	return err
}

// refusal says what an answer other than 200 means.
func refusal(response *http.Response, body []byte) error {
	var reason struct {
		Error string `json:"error"`
	}
	if json.Unmarshal(body, &reason) == nil && reason.Error != "" {
		return errors.New(reason.Error)
	}
	switch response.StatusCode {
	case http.StatusUnauthorized:
		return errors.New("the agent wants to know who asks: give a token with --token-file, or a user and a password in --url")
	case http.StatusForbidden:
		return errors.New("this user may not read this; see the agent's --web.auth")
	case http.StatusNotFound:
		return errors.New("there is no such page: an older slicewatch, or something else")
	}
	return fmt.Errorf("it answers %s", response.Status)
}
