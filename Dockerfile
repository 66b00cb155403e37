# greetd and greetprobe, and nothing else: no shell, no user but 65532, under 30 MB.
#
#   docker build -t greetd .    # or docker buildx build --platform linux/amd64,linux/arm64
#   docker run --rm -p 10000:10000 --read-only --cap-drop ALL greetd
#
# GREETD_* variables configure it, or a file at /etc/greetd/greetd.yaml: see
# configs/greetd.yaml. The log is JSON on stdout; why it does not start is on stderr.
# SIGTERM drains, for at most timeouts.drain; SIGHUP reloads. Memory and processors are
# those that the container has. `docker exec NAME greetprobe localhost 10000` asks it.
#
# Without a registry: --build-arg GO_IMAGE=an image that has a shell and Go, and where the
# modules are not in its cache, --build-arg GOPROXY=where they are.
ARG GO_VERSION=1.26
ARG GO_IMAGE=docker.io/library/golang:${GO_VERSION}

# Go builds for every platform on this one: nothing runs in emulation.
FROM --platform=$BUILDPLATFORM ${GO_IMAGE} AS build
ARG GOPROXY
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG TARGETOS TARGETARCH
# Without inlining in what runs at the start and for a scrape only, it is 0.3 MB smaller.
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH go build -tags=nethttpomithttp2 -trimpath -ldflags='-s -w' \
	-gcflags=google.golang.org/protobuf/...=-l -gcflags=github.com/spf13/...=-l -gcflags=go.yaml.in/...=-l \
	-buildvcs=$(git rev-parse HEAD >/dev/null 2>&1 && echo auto || echo false) -o /out/ ./cmd/greetd
# Without inlining it is 1.3 MB smaller; here it is for health checks.
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH go build -tags=nethttpomithttp2 -trimpath -ldflags='-s -w' -gcflags=all=-l \
	-buildvcs=$(git rev-parse HEAD >/dev/null 2>&1 && echo auto || echo false) -o /out/ ./cmd/greetprobe

FROM scratch
# What the labels say: --build-arg VERSION=v1.2.0 --build-arg REVISION=$(git rev-parse HEAD) ...
ARG SOURCE=https://greetd.example
ARG VERSION=devel
ARG REVISION=unknown
ARG CREATED=1970-01-01T00:00:00Z
LABEL org.opencontainers.image.title=greetd \
	org.opencontainers.image.description="TCP greeting daemon, and greetprobe" \
	org.opencontainers.image.licenses=Apache-2.0 \
	org.opencontainers.image.source=$SOURCE \
	org.opencontainers.image.version=$VERSION \
	org.opencontainers.image.revision=$REVISION \
	org.opencontainers.image.created=$CREATED
COPY --from=build /out/ /usr/bin/
ENV PATH=/usr/bin GREETD_LOG_OUTPUT=stdout GREETD_LOG_FORMAT=json
USER 65532:65532
EXPOSE 10000
STOPSIGNAL SIGTERM
# Of the default listener: where GREETD_LISTEN or a file says another, so must --health-cmd.
HEALTHCHECK --interval=10s --timeout=5s --start-period=5s --retries=3 \
	CMD ["greetprobe", "--quiet", "--timeout", "3s", "127.0.0.1", "10000"]
ENTRYPOINT ["greetd"]
