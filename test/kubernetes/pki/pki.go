// SPDX-License-Identifier: Apache-2.0

// Package pki makes the certificates and kubeconfigs of a throw-away cluster.
//
// It owns the cluster's certificate authority and service account key. It
// must not know who the certificates are for beyond the names it is given.
package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// lifetime is far longer than any cluster of a test lives.
const lifetime = 365 * 24 * time.Hour

// Authority is a certificate authority that keeps its files in one directory.
type Authority struct {
	directory   string
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	now         time.Time
}

// NewAuthority makes an authority in directory, valid from now on, and its
// certificate as ca.crt there.
func NewAuthority(directory string, now time.Time) (*Authority, error) {
	if err := os.MkdirAll(directory, 0o700); err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	a := &Authority{directory: directory, key: key, now: now}
	template := a.template(pkix.Name{CommonName: "slicewatch-test"})
	template.IsCA, template.BasicConstraintsValid = true, true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature
	raw, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("sign the certificate authority: %w", err)
	}
	if a.certificate, err = x509.ParseCertificate(raw); err != nil {
		return nil, err
	}
	return a, a.write("ca.crt", "CERTIFICATE", raw)
}

// CertificateFile returns the path of the authority's own certificate.
func (a *Authority) CertificateFile() string { return filepath.Join(a.directory, "ca.crt") }

// Pair is a certificate and its private key, as paths of PEM files.
type Pair struct{ Certificate, Key string }

// Client makes a certificate by which user and groups authenticate to the
// API server. Files are named after name.
func (a *Authority) Client(name, user string, groups ...string) (Pair, error) {
	template := a.template(pkix.Name{CommonName: user, Organization: groups})
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	return a.issue(name, template)
}

// Server makes a serving certificate for hosts, which are DNS names or IP
// addresses. Files are named after name.
func (a *Authority) Server(name string, hosts ...string) (Pair, error) {
	template := a.template(pkix.Name{CommonName: name})
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	return a.issue(name, template)
}

// ServiceAccountKey makes the key that service account tokens are signed
// with. The API server takes the same file for verifying.
func (a *Authority) ServiceAccountKey() (path string, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", err
	}
	return a.writeKey("service-account", key)
}

func (a *Authority) template(subject pkix.Name) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()),
		Subject:      subject,
		// The node's clock may be behind.
		NotBefore: a.now.Add(-time.Hour),
		NotAfter:  a.now.Add(lifetime),
		KeyUsage:  x509.KeyUsageDigitalSignature,
	}
}

func (a *Authority) issue(name string, template *x509.Certificate) (Pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Pair{}, err
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, a.certificate, key.Public(), a.key)
	if err != nil {
		return Pair{}, fmt.Errorf("sign the certificate of %s: %w", name, err)
	}
	path, err := a.writeKey(name, key)
	if err != nil {
		return Pair{}, err
	}
	pair := Pair{Certificate: filepath.Join(a.directory, name+".crt"), Key: path}
	return pair, a.write(name+".crt", "CERTIFICATE", raw)
}

func (a *Authority) writeKey(name string, key *ecdsa.PrivateKey) (string, error) {
	raw, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return "", err
	}
	return filepath.Join(a.directory, name+".key"), a.write(name+".key", "EC PRIVATE KEY", raw)
}

func (a *Authority) write(name, kind string, raw []byte) error {
	block := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: raw})
	return os.WriteFile(filepath.Join(a.directory, name), block, 0o600)
}
