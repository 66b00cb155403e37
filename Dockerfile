# greetd and greetprobe, and nothing else: no shell, no user but 65532.
#
#   docker build -t greetd .
#   docker run --rm -p 10000:10000 greetd
#
# GREETD_* variables configure it (see configs/greetd.yaml); SIGTERM drains.
ARG GO_IMAGE=docker.io/library/golang:1.26

FROM ${GO_IMAGE} AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 go build -tags container -trimpath -buildvcs=false -ldflags='-s -w' -o /out/ ./cmd/greetd && \
	ln -s greetd /out/greetprobe

FROM scratch
COPY --from=build /out/ /usr/bin/
USER 65532:65532
EXPOSE 10000
ENV PATH=/usr/bin GREETD_LOG_OUTPUT=stdout GREETD_LOG_FORMAT=json
HEALTHCHECK --interval=10s --timeout=5s CMD ["greetprobe", "--quiet", "127.0.0.1", "10000"]
ENTRYPOINT ["greetd"]
