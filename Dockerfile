# Both architectures from one machine, without emulation:
#   docker buildx build --platform linux/amd64,linux/arm64 -t slicewatch .
FROM --platform=$BUILDPLATFORM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG TARGETOS TARGETARCH VERSION=devel REVISION=unknown
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH go build -trimpath -buildvcs=false \
    -ldflags "-s -w -X main.linkedVersion=$VERSION -X main.linkedRevision=$REVISION" \
    -o /slicewatch ./cmd/slicewatch

FROM scratch
ARG VERSION=devel REVISION=unknown
LABEL org.opencontainers.image.title="slicewatch" \
      org.opencontainers.image.description="Per-pod CPU, memory, pressure and throttling from cgroup v2, for Prometheus" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"
COPY --from=build /slicewatch /slicewatch
# It runs as root because the state directory, a hostPath volume, is made for
# root. It needs no capability for that or for what it reads: drop them all,
# and mount the root file system read-only.
USER 0:0
EXPOSE 9779
ENTRYPOINT ["/slicewatch"]
