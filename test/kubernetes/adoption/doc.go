// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Package adoption installs the agent on the test cluster as an operator would:
// the image from `make image`, the Helm chart, tokens and TLS, a real Prometheus
// with the rules of deploy/, and removes it again.
//
// It owns what an installation is to give and to leave behind. It must not know
// what the agent's values mean; checks has that. Its tests need a running
// cluster, Helm, Prometheus and the image, and are skipped without; `make
// install-test` brings them, Prometheus where it may install it.
package adoption

// HelmEnv names the environment variable with the path of Helm. With it the
// tests fail for what else they lack instead of being skipped.
const HelmEnv = "SLICEWATCH_HELM"
