// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"time"

	"github.com/slicewatch/slicewatch/test/kubernetes/guestapi"
)

// serve runs everything that goes on as long as the node does. It returns only
// with an error.
func serve(settings guestapi.Settings) error {
	failed := make(chan error, 3)
	go func() { failed <- forwardService(context.Background(), settings) }()
	go func() { failed <- listen() }()
	if !settings.Systemd {
		go func() {
			if err := startNode(); err != nil {
				failed <- err
			}
		}()
	}
	return <-failed
}

// listen answers the host. Only holders of a certificate of the cluster's
// authority get an answer: what they ask for is done as root.
func listen() error {
	authority, err := os.ReadFile(guestapi.AuthorityFile)
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(authority)
	server := &http.Server{
		Addr:    fmt.Sprintf(":%d", guestapi.Port),
		Handler: http.HandlerFunc(answer),
		TLSConfig: &tls.Config{
			ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert,
			// A CONNECT needs the connection for itself, which HTTP/2 cannot give.
			NextProtos: []string{"http/1.1"},
		},
	}
	return fmt.Errorf("serve the host: %w", server.ListenAndServeTLS(guestapi.CertificateFile, guestapi.KeyFile))
}

func answer(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.Method == http.MethodConnect:
		connect(w, r)
	case r.URL.Path == guestapi.RunPath && r.Method == http.MethodPost:
		runCommand(w, r)
	case r.URL.Path == guestapi.TimePath:
		fmt.Fprint(w, time.Now().UnixNano())
	case r.URL.Path == guestapi.CgroupsPath:
		tree, err := readTree(r.URL.Query()["file"])
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		_ = json.NewEncoder(w).Encode(tree)
	default:
		http.NotFound(w, r)
	}
}

// connect makes a connection from the node and hands it to the client.
func connect(w http.ResponseWriter, r *http.Request) {
	outer, err := new(net.Dialer).DialContext(r.Context(), "tcp4", r.Host)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	inner, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		outer.Close()
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	if _, err := fmt.Fprint(inner, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		inner.Close()
		outer.Close()
		return
	}
	join(inner, outer)
}

// flushing sends what a command says at once: the host may wait for a line of
// a command that runs on.
type flushing struct {
	http.ResponseWriter
	controller *http.ResponseController
}

func (f flushing) Write(p []byte) (int, error) {
	n, err := f.ResponseWriter.Write(p)
	if err != nil {
		return n, err
	}
	return n, f.controller.Flush()
}

// runCommand ends the command when the client goes away.
func runCommand(w http.ResponseWriter, r *http.Request) {
	arguments := r.URL.Query()["arg"]
	if len(arguments) == 0 {
		http.Error(w, "no arg: which command?", http.StatusBadRequest)
		return
	}
	controller := http.NewResponseController(w)
	// Else the server reads the whole body before it sends the first output.
	if err := controller.EnableFullDuplex(); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Trailer", guestapi.StatusTrailer)
	w.WriteHeader(http.StatusOK)
	output := flushing{ResponseWriter: w, controller: controller}
	command := exec.CommandContext(r.Context(), arguments[0], arguments[1:]...)
	command.Env = environment()
	command.Stdin = r.Body
	command.Stdout, command.Stderr = output, output
	err := command.Run()
	if command.ProcessState == nil {
		w.Header().Set(guestapi.StatusTrailer, err.Error())
		return
	}
	w.Header().Set(guestapi.StatusTrailer, strconv.Itoa(command.ProcessState.ExitCode()))
}
