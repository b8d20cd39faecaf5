# make help lists what there is. CI runs `make test` and `make build`, nothing else.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

ARCHES   := amd64 arm64
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
REVISION ?= $(shell git rev-parse HEAD 2>/dev/null || echo unknown)
LDFLAGS  := -s -w -X main.linkedVersion=$(VERSION) -X main.linkedRevision=$(REVISION)
# Static, and the same bytes from the same sources wherever it is built.
GOBUILD  := CGO_ENABLED=0 GOOS=linux go build -trimpath -buildvcs=false -ldflags '$(LDFLAGS)'

# Tools are built once for each state of their go.sum.
CACHE    := .cache
LINT_SUM := $(shell sha256sum test/tools/golangci-lint/go.sum | cut -c1-12)
LINT     := $(CACHE)/tools/golangci-lint-$(LINT_SUM)
HELM     := $(CACHE)/tools/helm-$(shell sha256sum test/tools/helm/go.sum | cut -c1-12)

# What runs in emulated machines. arm64 with the newest kernel gets all of it;
# the others what depends on kernel and architecture.
VMTEST      := go run ./test/vm/cmd/vmtest
VM_COMMANDS := ./cmd/slicewatch,./test/kubetree/cmd/kubetree
# The packages with eBPF programs. They are tested on every kernel.
VM_BPF      := ./bpf/iterator ./bpf/events ./bpf/durations

.PHONY: help
help: ## list the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z0-9-]+:.*## / {printf "%-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: $(ARCHES:%=build-%) ## build the static binaries, bin/slicewatch-linux-<arch>

.PHONY: $(ARCHES:%=build-%)
$(ARCHES:%=build-%): build-%:
	GOARCH=$* $(GOBUILD) -o bin/slicewatch-linux-$* ./cmd/slicewatch

.PHONY: test
test: vet lint unit charts-test generate-check vm-test-if-possible ## everything that CI runs; as root it installs what is missing

# For this architecture: building the machines' programs checks the other.
.PHONY: vet
vet: ## go vet
	go vet ./...

.PHONY: lint
lint: $(LINT) ## the linters of .golangci.yml (built at the first use: 2 CPU minutes)
	$(LINT) run ./...

.PHONY: lint-fix
lint-fix: $(LINT) ## mend what the linters can mend by themselves
	$(LINT) run --fix ./...

.PHONY: charts-lint
charts-lint: $(HELM) ## helm lint, with each of deploy/helm/values (builds helm at the first use: 3 CPU minutes)
	$(HELM) lint --strict deploy/helm/slicewatch
	for values in deploy/helm/values/*.yaml; do \
		$(HELM) lint --strict --quiet --values "$$values" deploy/helm/slicewatch || exit 1; done

$(HELM): test/tools/helm/go.sum
	@echo "building helm"
	@mkdir -p $(@D)
	CGO_ENABLED=0 go -C test/tools/helm build -trimpath -o $(CURDIR)/$@ helm.sh/helm/v4/cmd/helm

$(LINT): test/tools/golangci-lint/go.sum
	@echo "building golangci-lint"
	@mkdir -p $(@D)
	CGO_ENABLED=0 go -C test/tools/golangci-lint build -trimpath -o $(CURDIR)/$@ github.com/golangci/golangci-lint/v2/cmd/golangci-lint

.PHONY: unit
unit: compiler ## go test -race, with every skipped test and its reason
	go test -race -json ./... | go run ./test/report

# A module of its own: Helm and kustomize as libraries are not the product's.
.PHONY: charts-test
charts-test: ## the Helm chart and the kustomize overlays make the same objects, and refuse what is wrong
	go -C test/charts vet ./...
	go -C test/charts test -count=1 ./...

.PHONY: charts-dryrun
charts-dryrun: ## a real kube-apiserver takes every overlay and every value (builds it at the first use: 12 CPU minutes)
	SLICEWATCH_DRYRUN=1 go -C test/charts test -count=1 -timeout 30m -run APIServer -v ./...

.PHONY: hints-dryrun
hints-dryrun: ## a real kube-apiserver takes every patch and VPA that hints are printed as, and agrees with --cluster (a minute, once it is built)
	SLICEWATCH_DRYRUN=1 go test -count=1 -timeout 30m -v ./test/kubernetes/hints

# The race detector needs a C compiler.
.PHONY: compiler
compiler:
	@if command -v "$$(go env CC)" >/dev/null; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends gcc libc6-dev; \
	else echo "go test -race needs a C compiler: install gcc and libc6-dev" >&2; exit 1; fi

# The time of the commit, so that the same commit gives the same bytes.
CREATED ?= $(shell git log -1 --format=%ct 2>/dev/null || echo 0)

.PHONY: image
image: build ## an OCI image layout of both architectures, build/slicewatch.oci, without a container engine
	@mkdir -p build
	go -C test/tools/image run . -version=$(VERSION) -revision=$(REVISION) -created=$(CREATED) -out=$(CURDIR)/build \
		$(foreach arch,$(ARCHES),$(arch)=$(CURDIR)/bin/slicewatch-linux-$(arch))

# The copy has another path, and a build cache of its own where nothing of the
# first build is.
.PHONY: image-test
image-test: image ## the same commit gives the same image: everything is built again elsewhere (8 CPU minutes)
	go -C test/tools/image test -count=1 ./...
	copy=$$(mktemp -d); trap 'rm -rf "$$copy"' EXIT; cp -r . "$$copy/source"; rm -rf "$$copy"/source/{bin,build}; \
	GOCACHE="$$copy/cache" $(MAKE) --no-print-directory -C "$$copy/source" image VERSION=$(VERSION) REVISION=$(REVISION) CREATED=$(CREATED); \
	cmp "$$copy/source/build/slicewatch.digest" build/slicewatch.digest
	@echo "the same digest twice: $$(cat build/slicewatch.digest)"

# The Dockerfile's base image is made from this machine's Go, as there may be no registry.
.PHONY: dockerfile-test
dockerfile-test: ## buildah builds the Dockerfile for both architectures, as root and without a registry (up to 5 CPU minutes)
	SLICEWATCH_DOCKERFILE=1 go test -count=1 -timeout 30m -v ./test/dockerfile

.PHONY: e2e
e2e: ## the agent as a DaemonSet on a real, emulated Kubernetes node; builds Kubernetes at the first use (25 CPU minutes)
	go run ./test/kubernetes/cmd/cluster test $(E2E_FLAGS)

.PHONY: install-test
install-test: prometheus $(HELM) image ## the image and the Helm chart on that node, with Prometheus, tokens and alerts; and the hardened profile (25 minutes)
	SLICEWATCH_HELM=$(CURDIR)/$(HELM) go run ./test/kubernetes/cmd/cluster test-install $(E2E_FLAGS)

# Two machines at a time, as an emulated one keeps one processor busy. What
# they say comes in one piece for each.
.PHONY: vm-test
vm-test: ## tests on real kernels in emulated machines: arm64 and amd64, Linux 6.1 and 6.12
	@echo "two machines at a time; each says its results when it is done, which takes up to 30 minutes"
	$(MAKE) --no-print-directory -j2 --output-sync=target vm-newest vm-others

# What an emulated machine is late for, or a fault of the emulator itself (QEMU
# 7.2 breaks the amd64 kernel now and then, worse with two processors), does
# not come twice in a row; what fails does.
again = $(1) || { echo "FAILED; once more, as it may have been the emulation: $(1)"; $(1); }

.PHONY: vm-newest
vm-newest:
	$(call again,$(VMTEST) -arch arm64 -suite trixie -swap 256 -timeout 28m -commands $(VM_COMMANDS) $(VM_BPF) ./cgroupfs ./test/exact)

.PHONY: vm-others
vm-others:
	$(call again,$(VMTEST) -arch arm64 -suite bookworm -swap 256 -timeout 20m -short -commands $(VM_COMMANDS) $(VM_BPF) ./cgroupfs ./test/exact)
	$(call again,$(VMTEST) -arch amd64 -suite bookworm -cpus 1 -swap 256 -timeout 20m -short -commands $(VM_COMMANDS) $(VM_BPF) ./cgroupfs)
	$(call again,$(VMTEST) -arch amd64 -suite trixie -cpus 1 -swap 256 -timeout 20m -short -commands $(VM_COMMANDS) $(VM_BPF) ./cgroupfs ./test/exact)

.PHONY: vm-test-all
vm-test-all: ## all of them, those of the tests' own tools too, on all four kernels: hours
	$(VMTEST) -arch arm64,amd64 -suite trixie,bookworm -swap 256 -timeout 60m -append SLICEWATCH_TEST_LONG \
		-commands $(VM_COMMANDS) $(VM_BPF) ./cgroupfs ./test/vm/guest ./test/kubetree ./test/exact

# By the instruction clock 50 containers are killed within a quarter of a second;
# a slow host would take longer than the second that a burst is.
.PHONY: oom-test
oom-test: ## OOM kills at every level, told by the agent with eBPF and without, and 200 of them in bursts of 50, in emulated machines (12 minutes)
	$(VMTEST) -arch arm64 -suite trixie -memory 384 -timeout 20m -commands $(VM_COMMANDS) ./test/ooms
	$(VMTEST) -arch arm64 -suite trixie -icount -swap 256 -v -timeout 20m -append SLICEWATCH_TEST_LONG -run TestEveryKillIsToldOnce -commands $(VM_COMMANDS) ./bpf/events

# The clock by instructions makes several processors trustworthy: amd64's is what
# the goals are for. LONG=SLICEWATCH_TEST_LONG runs every shape under every limit.
.PHONY: hints-test
hints-test: ## hints held against the smallest limit that a real kernel shows to be enough, as tables (an hour; LONG=SLICEWATCH_TEST_LONG several)
	@mkdir -p build
	status=0; for machine in "-arch amd64 -icount -shift 3 -cpus 4" "-arch arm64 -cpus 2"; do \
		$(VMTEST) $$machine -suite trixie -v -timeout 48h -append "$(LONG)" -commands ./test/kubetree/cmd/kubetree $(HINTS_FLAGS) ./test/sizing || status=1; \
	done >build/hints-test.log; \
	go run ./test/sizing/cmd/table <build/hints-test.log && exit $$status

.PHONY: hints-docs
hints-docs: ## take the tables of the last hints-test into docs/hints.md, and what a whole short one recorded into the tests
	go run ./test/sizing/cmd/table -into docs/hints.md $(if $(LONG),,-records test/sizing/testdata/windows.jsonl.gz) <build/hints-test.log

.PHONY: prometheus-test
prometheus-test: ## a real Prometheus scrapes the agent in an emulated machine, and queries are checked
	SLICEWATCH_VM_TESTS=1 go test -count=1 -timeout 20m -v -run TestQueries ./test/prometheus

.PHONY: monitoring-test
monitoring-test: ## real Prometheus and VictoriaMetrics scrape the agent beside a made-up cluster; each rule and dashboard is checked
	SLICEWATCH_VM_TESTS=1 go test -count=1 -timeout 30m -v -run TestMonitoring ./test/prometheus

.PHONY: vm-test-if-possible
vm-test-if-possible:
	@echo "not run here: vm-test-all (the tests' own tools; all tests on all kernels), oom-test (kills at every level), hints-test (CPU and memory hints on a kernel), monitoring-test (rules and dashboards on real servers), e2e (a Kubernetes node; 25 CPU minutes to build), install-test (the chart on that node), image-test (the image again elsewhere), dockerfile-test (buildah), charts-dryrun (a kube-apiserver), hints-dryrun (patches on a kube-apiserver), charts-lint (helm)"
	@if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null || \
		{ command -v qemu-system-aarch64 && command -v qemu-system-x86_64; } >/dev/null; then \
		$(MAKE) --no-print-directory vm-test prometheus-if-possible; \
	else echo "skipped: vm-test, as QEMU is not installed and only root can install it"; fi

# Where it cannot be installed, whoever needs it says so.
.PHONY: prometheus
prometheus:
	@if ! { command -v prometheus && command -v promtool && command -v vmalert; } >/dev/null && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends prometheus victoria-metrics; fi

.PHONY: prometheus-if-possible
prometheus-if-possible: prometheus
	@if { command -v prometheus && command -v promtool; } >/dev/null; then $(MAKE) --no-print-directory prometheus-test; \
	else echo "skipped: prometheus-test, as Prometheus is not installed and only root can install it"; fi

.PHONY: backtest
backtest: ## hints against what others recommend, over traces; TRACES=directories adds yours
	go run ./test/backtest/cmd/backtest $(BACKTEST_FLAGS) $(TRACES)

.PHONY: demo
demo: ## the agent in a virtual machine with a small made-up cluster, until interrupted
	go run ./test/demo $(DEMO_FLAGS)

.PHONY: fuzz
fuzz: ## each fuzz test for FUZZTIME (default 20s)
	@go list ./... | while read -r package; do \
		go test -list '^Fuzz' "$$package" | { grep '^Fuzz' || true; } | while read -r name; do \
			echo "$$package $$name"; go test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(or $(FUZZTIME),20s) "$$package"; \
		done; done

.PHONY: bench
bench: ## all benchmarks
	go test -run '^$$' -bench . -benchmem ./...

.PHONY: monitoring
monitoring: ## write the rule objects and dashboards in deploy from their sources
	go run ./deploy/generate

.PHONY: generate
generate: docs monitoring bpf-compiler ## write everything that is generated
	go generate ./...

# The eBPF objects are committed. They are built again in a directory elsewhere,
# so that neither time nor place can be in them.
.PHONY: generate-check
generate-check: bpf-compiler ## the eBPF objects are, bit for bit, what their sources give
	@if ! command -v $(BPF_CC) >/dev/null || ! [ -e /usr/include/bpf/bpf_helpers.h ]; then \
		echo "skipped: generate-check, as $(BPF_CC) and libbpf's headers are not installed and only root can install them"; exit 0; fi; \
	rm -rf build/generated && mkdir -p build/generated && cp -r bpf go.mod go.sum build/generated/ && \
	find build/generated/bpf -name '*_bpfel.*' -delete && (cd build/generated && go generate ./bpf/...) && \
	diff -rq bpf build/generated/bpf || { echo "the eBPF objects are not what their sources give: run make generate" >&2; exit 1; }; \
	rm -rf build/generated; echo "the eBPF objects are what their sources give"

# Other versions give other bytes: Debian 12's compiler and libbpf.
BPF_CC := clang-14
.PHONY: bpf-compiler
bpf-compiler:
	@if command -v $(BPF_CC) >/dev/null && [ -e /usr/include/bpf/bpf_helpers.h ]; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends clang-14 llvm-14 libbpf-dev; \
	else echo "the eBPF programs are compiled with Debian's packages clang-14, llvm-14 and libbpf-dev, which are not installed"; fi

.PHONY: docs
docs: ## write docs/metrics.md from the code
	go run ./cmd/slicewatch metrics > docs/metrics.md.new
	mv docs/metrics.md.new docs/metrics.md

.PHONY: clean
clean: ## remove what was built, but not the caches
	rm -rf bin build
