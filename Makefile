# Lanyard. Go, git and make are enough for every target; what one needs besides
# are Debian packages, which it installs as root, and otherwise names.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
IMAGE ?= lanyard:$(VERSION)

# Git answers nothing about a clone that another user owns (sudo make demo), and go
# would fail for it; the version is given to the build instead.
export GOFLAGS := $(strip $(GOFLAGS) -buildvcs=false)

# Static, the same on every machine that builds the same commit, without symbols.
GO_BUILD = CGO_ENABLED=0 go build -trimpath -ldflags '-s -w -X main.version=$(VERSION)'

# The race detector needs cgo, and so a C compiler, which we do not ask of a user.
# Where there is one, the tests run with it; with CI=true always. One run with it
# instead of one with and one without: the second takes as long again, and has not
# found what the first did not. RACE= (empty) switches it off.
ifeq ($(CI),true)
RACE ?= -race
else
RACE ?= $(shell command -v "$$(go env CC 2>/dev/null)" >/dev/null 2>&1 && echo -race)
endif
# Tests run anew each time: many look at the kernel, which go's cache does not.
TEST_FLAGS ?= $(RACE) -count=1 -timeout=30m
# First what takes longest, and mostly one processor: the emulated machine.
PACKAGES ?= ./test/kernel ./...

# For each fuzz target; without it all of them share ten minutes. Further flags of
# the command, such as FUZZ_FLAGS='-only Head', are those of test/fuzz.
FUZZ_TIME ?=
FUZZ_FLAGS ?=

NEEDS := test/tools/debian-packages

# Node.js of another source brings its own, with which Debian's conflicts.
NPM_PACKAGE := $(shell command -v npm >/dev/null || echo npm)

# The clients whose requests the end-to-end tests send, and who receives them.
TEST_PACKAGES := curl wget git nginx-light caddy python3 python3-requests ruby php-cli nodejs python3-jwt python3-cryptography iproute2
TEST_PACKAGES += $(NPM_PACKAGE)
# The JDK's client, and the library of Tomcat.
TEST_PACKAGES += openjdk-17-jdk-headless libtomcat10-java
DEMO_PACKAGES := curl

# What the benchmark compares with, and what makes its load.
BENCH_PACKAGES := haproxy nginx-light nghttp2-client wrk nodejs $(NPM_PACKAGE)
# Further flags of the benchmark, such as BENCH_FLAGS='-rows P:H -pairs 4'.
BENCH_FLAGS ?=

# Further flags of the attacks, such as ATTACK_FLAGS='-only twin -tries 100000'.
ATTACK_FLAGS ?=

# Another compiler makes other objects: exactly these versions, of Debian 12.
BPF_PACKAGES := clang-14=1:14.0.6-12 llvm-14=1:14.0.6-12 libbpf-dev=1:1.1.2-0+deb12u1

# errcheck looks at what ships, the others at everything.
SHIPPED := ./agent/... ./cmd/... ./injector/... ./internal/...

.PHONY: help
help: ## Show this list
	@echo 'Lanyard: every process its own identity, and the right token on its requests.'
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# One clear line instead of what an old go says about a go.mod it cannot read.
.PHONY: go
go:
	@command -v go >/dev/null || { echo 'Lanyard needs Go 1.26 or newer, and there is none here: see https://go.dev/dl/' >&2; exit 1; }
	@version=$$(cd / && GOTOOLCHAIN=local GOFLAGS= go env GOVERSION); \
	if [[ $$version =~ go1\.([0-9]+) ]] && (( $${BASH_REMATCH[1]} < 26 )); then \
		echo "Lanyard needs Go 1.26 or newer, and this is $$version: see https://go.dev/dl/" >&2; exit 1; \
	fi

.PHONY: build
build: go ## Build bin/lanyard, static
	$(GO_BUILD) -o bin/lanyard ./cmd/lanyard

.PHONY: demo
demo: build ## Run the whole story on this machine (needs root)
	@$(NEEDS) 'make demo' $(DEMO_PACKAGES)
	@bin/lanyard demo

.PHONY: test
test: go ## Run all tests; as root also those of the kernel and end to end
	@$(NEEDS) --or-without 'make test' $(TEST_PACKAGES)
	@go run ./test/summary $(TEST_FLAGS) $(PACKAGES)

.PHONY: fuzz
fuzz: go ## Fuzz all that parses foreign bytes, ten minutes in all (FUZZ_TIME=1m: each)
	@go run ./test/fuzz $(if $(FUZZ_TIME),-each $(FUZZ_TIME)) $(FUZZ_FLAGS) $(PACKAGES)

.PHONY: bench
bench: go ## Measure data path and authority against peers (needs root; 40 minutes)
	@$(NEEDS) 'make bench' $(BENCH_PACKAGES)
	@mkdir -p bin
	go test -run '^$$' -bench . -benchtime 1x -timeout 3h ./test/bench -args -out $(CURDIR)/bin $(BENCH_FLAGS)

.PHONY: attack
attack: go ## Try a million times to get another program's token (needs root; 30 minutes)
	go test -v -count=1 -timeout 3h ./test/attack -args -tries 1000000 -rate 2000 $(ATTACK_FLAGS)

.PHONY: lint
lint: go ## Check form and look for mistakes
	@unformatted=$$(git ls-files -z '*.go' | xargs -0 gofmt -l); \
	if [ -n "$$unformatted" ]; then echo "gofmt would change:" $$unformatted >&2; exit 1; fi
	go mod tidy -diff
	go vet ./...
	go build -C test/tools -o ../../bin/vettool ./vettool
	go vet -vettool=$(CURDIR)/bin/vettool ./...
	go tool -modfile=test/tools/go.mod staticcheck ./...
	go tool -modfile=test/tools/go.mod errcheck -ignoretests -exclude test/tools/errcheck.txt $(SHIPPED)

.PHONY: generate
generate: go ## Generate the eBPF objects and bindings anew
	@$(NEEDS) 'make generate' $(BPF_PACKAGES)
	go generate ./bpf

.PHONY: check-generated
check-generated: generate ## Fail if what is committed is not what would be generated
	@git diff --exit-code -- bpf || { echo 'bpf/ holds something else than make generate makes: commit what it made' >&2; exit 1; }
	@new=$$(git ls-files --others --exclude-standard -- bpf); \
	if [ -n "$$new" ]; then echo "make generate makes files that are not committed:" $$new >&2; exit 1; fi

.PHONY: image
image: ## Build the container image
	@command -v docker >/dev/null || { echo 'make image needs Docker: see https://docs.docker.com/engine/install/' >&2; exit 1; }
	docker build --build-arg VERSION=$(VERSION) -t $(IMAGE) .

.PHONY: ci
ci: ## Run everything that must pass before a change is taken
	@.ci/run

.PHONY: clean
clean: ## Remove what was built
	rm -rf bin dist
