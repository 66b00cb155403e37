# An image with greetd and greetprobe only: no shell, the user 65532, and less than 30 MB.
#
#   docker build -t greetd .    # or docker buildx build --platform linux/amd64,linux/arm64
#   docker run --rm -p 10000:10000 --read-only --cap-drop ALL greetd
#
# Configure it with GREETD_* variables, or with a file at /etc/greetd/greetd.yaml: see
# configs/greetd.yaml. The log is JSON on stdout. If greetd cannot start, the reason is on
# stderr. SIGTERM drains, for at most timeouts.drain; SIGHUP reloads. greetd respects the
# memory limit and the processors of the container. To try it:
# `docker exec NAME greetprobe localhost 10000`.
#
# To build without a registry: --build-arg GO_IMAGE= with an image that has a shell and Go. If
# the modules are not in its cache, add --build-arg GOPROXY= with the address of a proxy.
ARG GO_VERSION=1.26
ARG GO_IMAGE=docker.io/library/golang:${GO_VERSION}

# The build runs on the platform of the builder, without emulation: Go cross-compiles.
FROM --platform=$BUILDPLATFORM ${GO_IMAGE} AS build
ARG GOPROXY
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG TARGETOS TARGETARCH
# Packages of greetd that run only at the start or for a scrape are built without inlining: the
# program is then 0.3 MB smaller. In this image greetprobe is used only for health checks, so all
# of it is built without inlining: it is then 1.3 MB smaller. -E: see internal/stdout.
RUN export CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH; \
	case ${GOARCH:-$(go env GOARCH)} in amd64|arm64) entry='-E greetd_start';; esac; \
	build() { go build -tags=nethttpomithttp2 -trimpath -ldflags="-s -w $entry" -o /out/ \
		-buildvcs=$(git rev-parse HEAD >/dev/null 2>&1 && echo auto || echo false) "$@"; }; \
	build -gcflags=google.golang.org/protobuf/...=-l -gcflags=github.com/spf13/...=-l -gcflags=go.yaml.in/...=-l ./cmd/greetd && \
	build -gcflags=all=-l ./cmd/greetprobe

FROM scratch
# Set the labels with --build-arg VERSION=v1.2.0 --build-arg REVISION=$(git rev-parse HEAD) ...
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
# For the default listener. If GREETD_LISTEN or the file has another address, set --health-cmd.
HEALTHCHECK --interval=10s --timeout=5s --start-period=5s --retries=3 \
	CMD ["greetprobe", "--quiet", "--timeout", "3s", "127.0.0.1", "10000"]
ENTRYPOINT ["greetd"]
