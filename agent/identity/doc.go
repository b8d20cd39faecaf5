// SPDX-License-Identifier: Apache-2.0

// Package identity says who a cgroup is: its namespace, pod, container and
// workload, and what Kubernetes says of it. It joins the path of the cgroup
// with two sources, the API server and containerd; either alone is enough, and
// without both a container is its pod's UID and the start of its id. It owns
// the join and how long facts are kept, and must not know cgroup files,
// metrics or HTTP.
package identity
