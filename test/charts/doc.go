// SPDX-License-Identifier: Apache-2.0

// Package charts has the tests of deploy/helm and deploy/kustomize: that both
// make the same objects, that wrong values are refused in words, that
// everything is documented, and that a real API server takes it all. It owns
// the rendering, by Helm's and kustomize's own libraries, and is a module of
// its own to keep these out of the product's go.mod. It must not know what the
// agent does with what the objects say.
package charts
