// SPDX-License-Identifier: Apache-2.0

// Package access decides who may read what the agent serves, by asking the
// API server whose bearer token a request brings (TokenReview) and whether
// they may get the path (SubjectAccessReview). It owns the questions, and the
// bounded memory of the answers. It must not know what is served, and it lets
// nobody in when there is no answer.
package access
