# `make help` lists the targets.

GO ?= go
PREFIX ?= /usr/local
BIN := bin
ARCH = $(shell $(GO) env GOARCH)
# Tools are built once from the versions in tools/go.mod and tools/release/go.mod.
TOOLS := .cache/bin
export DESTDIR PREFIX SYSTEMD_UNIT_DIR BIN GO TOOLS

# The build info has the version: the commit of a clone, or the tag of a module. Without git,
# or in a clone of another user, Go cannot read the commit, so the build leaves it out.
BUILDVCS := $(shell git rev-parse HEAD >/dev/null 2>&1 && echo auto || echo false)

GOTESTSUM := $(TOOLS)/gotestsum
APISERVER := $(addprefix $(TOOLS)/,etcd kube-apiserver kubectl)
RELEASE_TOOLS := $(addprefix $(TOOLS)/,actionlint cyclonedx-gomod go-licenses govulncheck image jv nfpm)
UNIT_PACKAGES = $$($(GO) list ./... | grep -v /test/e2e)
SCRIPTS := .ci/run deploy/install.sh deploy/kubernetes/monitoring/rules.sh $(wildcard deploy/packages/*.sh deploy/packages/deb/*.p* deploy/packages/rpm/*.p*) test/api.sh test/packages.sh test/fuzz.sh test/racehunt.sh test/licences.sh test/vulncheck.sh
MANUALS := docs/greetd.8 docs/greetd.yaml.5 docs/greetprobe.1
FUZZTIME ?= 10m
HUNT ?= 10m
PACKAGE ?= ./internal/access
FLAGS ?=
SOAKTIME ?= 1h
CHAOSTIME ?= 10m
CHAOSSEED ?=

.PHONY: help run build test unit fuzz-short fuzz race-hunt mutate soak chaos kubernetes apiserver e2e bench lint pictures drill api licences vulncheck fmt packages schema docs release install uninstall clean

help: ## print this list
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

run: build ## build, and greet on port 10000 in the foreground (ARGS='--listen :7': further flags)
	./bin/greetd --config configs/greetd.yaml $(ARGS)

# Where the programs begin, see internal/stdout.
ENTRY = $(if $(filter amd64 arm64,$(shell $(GO) env GOARCH)),-E greetd_start)

# The build omits HTTP/2, which a scrape does not need: this saves 0.6 MB of memory.
build: ## build static binaries in bin/
	CGO_ENABLED=0 $(GO) build -tags=nethttpomithttp2 -trimpath -buildvcs=$(BUILDVCS) -ldflags='-s -w $(ENTRY)' -o $(BIN)/ ./cmd/...

test: unit fuzz-short kubernetes e2e ## run every test that this machine allows

unit: $(TOOLS)/gotestsum ## run the tests of the packages and of the commands, with the race detector
	@sh test/packages.sh unit
	@if command -v gcc >/dev/null; then race=-race; export CGO_ENABLED=1; \
	else echo "make unit: running without the race detector, which needs gcc"; fi; \
	set -x; $(GOTESTSUM) --format=pkgname -- $$race -timeout=20m $(UNIT_PACKAGES)
	cd tools && $(GO) test ./mutate
	cd tools/release && $(GO) test ./image

fuzz-short: # fuzz the parsers of untrusted input, for ten seconds each
	sh test/fuzz.sh 10s ./internal/proxyproto ./internal/config ./internal/greeting ./internal/access

race-hunt: ## test pkg/service and pkg/systemd under the race detector, repeatedly for HUNT=10m
	sh test/racehunt.sh $(HUNT)

mutate: $(TOOLS)/mutate ## plant faults in PACKAGE=./internal/access, and print those that its tests do not find (FLAGS='-every 5')
	$(TOOLS)/mutate $(FLAGS) $(PACKAGE)

fuzz: ## run every fuzz target for FUZZTIME=10m
	sh test/fuzz.sh $(FUZZTIME) ./...

soak: ## hostile clients at full speed for SOAKTIME=1h: memory and descriptors of greetd must not grow
	SOAKTIME=$(SOAKTIME) $(GO) test -count=1 -timeout=0 -v -run='^TestSoak' ./cmd/greetd

chaos: ## stops, kills, reloads, a frozen journal and more for CHAOSTIME=10m: no client may be lost (CHAOSSEED=N repeats a run)
	CHAOSTIME=$(CHAOSTIME) CHAOSSEED=$(CHAOSSEED) $(GO) test -count=1 -timeout=0 -v -run='^TestChaos$$' ./cmd/greetd

rules: ## make deploy/kubernetes/monitoring/prometheusrule.yaml from deploy/prometheus/greetd.rules.yml
	sh deploy/kubernetes/monitoring/rules.sh >deploy/kubernetes/monitoring/prometheusrule.yaml

kubernetes: $(TOOLS)/gotestsum ## check deploy/kubernetes against the types and rules of the Kubernetes API
	cd test/kubernetes && ../../$(GOTESTSUM) --format=pkgname -- -count=1 ./...

# Not in make test, because the first build takes ten minutes.
apiserver: $(APISERVER) .cache/crd ## apply deploy/kubernetes to a real kube-apiserver; the first build takes ten minutes
	cd test/kubernetes/apiserver && $(GO) test -count=1 -timeout=10m -v ./...

e2e: $(TOOLS)/gotestsum build ## run the tests on booted systemd 252, 257 and 262, and with a browser, as root
	@sh test/packages.sh e2e
	cd test/browser && GREETD_E2E=1 ../../$(GOTESTSUM) --format=testname -- -count=1 -timeout=20m ./...
	@if [ "$$(id -u)" -ne 0 ] && [ "$$CI" != true ]; then echo "make e2e: skipped the tests that boot systemd: run as root"; exit; fi; \
	set -x; GREETD_E2E=1 $(GOTESTSUM) --format=testname -- -count=1 -p=1 -timeout=45m ./test/e2e/...

bench: ## compare greetd with nginx and others, in a separate network, as root (BENCH='-rounds 7 -only plain')
	@sh test/packages.sh bench
	$(GO) run ./bench $(BENCH)

lint: licences vulncheck api $(TOOLS)/golangci-lint $(TOOLS)/gofumpt $(TOOLS)/deadcode $(TOOLS)/actionlint ## check formatting, vet, linters, modules, scripts
	@unformatted=$$($(TOOLS)/gofumpt -l bench cmd deploy docs internal pkg test tools); \
	if [ -n "$$unformatted" ]; then echo "make fmt would change:" $$unformatted; exit 1; fi
	$(GO) vet ./...
	$(GO) mod tidy -diff
	$(TOOLS)/golangci-lint run ./...
	@dead=$$($(TOOLS)/deadcode -filter='^greetd.example/(cmd|internal)/' ./cmd/...); \
	if [ -n "$$dead" ]; then echo "neither program calls:"; echo "$$dead"; exit 1; fi
	for module in kubernetes kubernetes/apiserver browser tableflip; do (cd test/$$module && $(GO) mod tidy -diff && $(abspath $(TOOLS))/golangci-lint run ./...) || exit; done
	cd tools && $(GO) vet ./mutate
	cd tools/release && $(GO) vet ./image
	cd pkg/systemd/example && $(GO) mod tidy -diff && ../../../$(TOOLS)/golangci-lint run --config ../../../.golangci.yml --disable depguard ./...
	for os in darwin dragonfly freebsd netbsd openbsd windows; do GOOS=$$os $(GO) vet ./pkg/probe ./pkg/systemd ./cmd/greetprobe || exit; done
	@sh test/packages.sh lint
	shellcheck $(SCRIPTS)
	$(TOOLS)/actionlint .github/workflows/*.yml
	sh deploy/packages/changelog.sh

api: $(TOOLS)/apidiff ## compare the API of pkg/ with the last tag: it must stay compatible
	sh test/api.sh $(TOOLS)/apidiff

licences: $(TOOLS)/go-licenses ## check that every module in go.mod has an allowed licence
	sh test/licences.sh $(TOOLS)/go-licenses

vulncheck: $(TOOLS)/govulncheck ## look for known vulnerabilities in the functions that the code calls
	sh test/vulncheck.sh $(TOOLS)/govulncheck

pictures: build ## make the pictures of the README, as root; takes eleven minutes
	@sh test/packages.sh e2e
	GREETD_E2E=1 GREETD_PICTURES=$(CURDIR)/docs/images $(GO) test -count=1 -timeout=20m -run TestPictures ./test/e2e

drill: build ## measure the table and the picture of docs/drill.md, as root
	@sh test/packages.sh e2e
	GREETD_E2E=1 GREETD_DRILL=1 $(GO) test -count=1 -timeout=20m -run='^TestDrill$$' ./test/e2e

fmt: $(TOOLS)/golangci-lint ## format the Go code
	$(TOOLS)/golangci-lint fmt ./...

packages: $(TOOLS)/nfpm $(TOOLS)/go-licenses ## make .deb and .rpm in dist/ (ARCH="amd64 arm64" for both)
	@$(MAKE) --no-print-directory build BIN=bin
	sh deploy/packages/packages.sh $(ARCH)

schema: ## make the JSON Schema of the configuration from the table of keys
	$(GO) run ./cmd/greetd config --schema >configs/greetd.schema.json

release: $(TOOLS)/nfpm $(TOOLS)/go-licenses $(TOOLS)/cyclonedx-gomod $(TOOLS)/image vulncheck ## make everything that is published for a tag, in dist/ (SIGNING_KEY, or UNSIGNED=yes, for apt and yum)
	@sh test/packages.sh release
	sh deploy/packages/release.sh

install: ## install (DESTDIR, PREFIX=/usr/local, SYSTEMD_UNIT_DIR); keeps a changed configuration
	@if command -v $(GO) >/dev/null; then $(MAKE) --no-print-directory build; \
	elif ! [ -x bin/greetd ]; then echo "make install: the go command was not found; run make build as a user that has it, then make install" >&2; exit 1; fi
	sh deploy/install.sh

uninstall: ## remove the installed files, but not /etc/greetd
	sh deploy/install.sh uninstall

# References to our own pages become links between these, all others links to manpages.debian.org.
docs: ## make the manuals as HTML, in bin/docs
	@sh test/packages.sh docs
	@mkdir -p $(BIN)/docs
	@cp $(MANUALS) $(BIN)/docs
	cd $(BIN)/docs && for page in $(notdir $(MANUALS)); do \
		mandoc -T html -O toc -O 'man=%N.%S;https://manpages.debian.org/%N.%S' $$page >$$page.html || exit; \
		sed -i 's/href="\(greet[a-z.]*\.[158]\)"/href="\1.html"/g' $$page.html; \
	done; rm $(notdir $(MANUALS)); \
	{ echo '<!DOCTYPE html><html lang="en"><title>greetd</title><h1>greetd</h1><ul>'; \
	for page in $(notdir $(MANUALS)); do echo "<li><a href=\"$$page.html\">$$page</a>"; done; echo '</ul></html>'; } >index.html

clean: ## remove the files that were built
	rm -rf bin dist .cache

$(TOOLS)/golangci-lint: TOOL = github.com/golangci/golangci-lint/v2/cmd/golangci-lint
$(TOOLS)/deadcode: TOOL = golang.org/x/tools/cmd/deadcode
$(TOOLS)/apidiff: TOOL = golang.org/x/exp/cmd/apidiff
$(TOOLS)/gotestsum: TOOL = gotest.tools/gotestsum
$(TOOLS)/gofumpt: TOOL = mvdan.cc/gofumpt
$(TOOLS)/actionlint: TOOL = github.com/rhysd/actionlint/cmd/actionlint
$(TOOLS)/cyclonedx-gomod: TOOL = github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod
$(TOOLS)/go-licenses: TOOL = github.com/google/go-licenses/v2
$(TOOLS)/govulncheck: TOOL = golang.org/x/vuln/cmd/govulncheck
$(TOOLS)/mutate: TOOL = greetd.example/tools/mutate
$(TOOLS)/image: TOOL = greetd.example/tools/release/image
$(TOOLS)/jv: TOOL = github.com/santhosh-tekuri/jsonschema/cmd/jv
$(TOOLS)/nfpm: TOOL = github.com/goreleaser/nfpm/v2/cmd/nfpm
$(RELEASE_TOOLS): $(TOOLS)/%: tools/release/go.mod tools/release/go.sum
	cd tools/release && $(GO) build -o $(abspath $@) $(TOOL)
$(TOOLS)/etcd: TOOL = go.etcd.io/etcd/server/v3
$(TOOLS)/kube-apiserver: TOOL = k8s.io/kubernetes/cmd/kube-apiserver
$(TOOLS)/kubectl: TOOL = k8s.io/kubernetes/cmd/kubectl
$(APISERVER): $(TOOLS)/%: test/kubernetes/apiserver/go.mod test/kubernetes/apiserver/go.sum
	cd test/kubernetes/apiserver && CGO_ENABLED=0 $(GO) build -o $(abspath $@) \
		-ldflags="-s -w -X k8s.io/component-base/version.gitVersion=$$($(GO) list -m -f '{{.Version}}' k8s.io/kubernetes)" $(TOOL)
# The custom resources of the Prometheus Operator, from the types that test/kubernetes imports.
.cache/crd: test/kubernetes/go.mod
	cd test/kubernetes && $(GO) tool controller-gen crd output:crd:dir=$(abspath $@) \
		paths=github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1
$(TOOLS)/mutate: $(wildcard tools/mutate/*.go)
$(TOOLS)/image: $(wildcard tools/release/image/*.go)
$(TOOLS)/%: tools/go.mod tools/go.sum
	cd tools && $(GO) build -o $(abspath $@) $(TOOL)
