# Go and git are enough for every target; what more a test needs is named where it is skipped.

GO       ?= go
FUZZTIME ?= 20s
# SKIPS=forbid makes a skipped test a failure, as CI does.
SKIPS    ?=

# The race detector needs cgo and a C compiler.
race    = $(if $(filter 1,$(shell $(GO) env CGO_ENABLED)),-race)
forbid  = $(if $(filter forbid,$(SKIPS)),--post-run-command 'sh -c "[ $$TESTS_SKIPPED -eq 0 ] || { echo FAIL: no test may be skipped here; exit 1; }"')
systems = linux darwin windows

.PHONY: help
help: ## show this help
	@echo "stepup: adds the second factor that Vault wants to the requests of your apps"
	@echo
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

.PHONY: build
build: ## build bin/stepup
	$(GO) build -trimpath -o bin/stepup ./cmd/stepup

.PHONY: demo
demo: build ## the whole story against an embedded development Vault
	@bin/stepup demo

.PHONY: test
test: bin/gotestsum ## run the tests; says at the end what was skipped and why
	@$(if $(race),,echo "without the race detector: it needs cgo and a C compiler")
	@bin/gotestsum --format-hide-empty-pkg $(forbid) -- $(race) -timeout 20m ./...
	@cd tools && ../bin/gotestsum --format-hide-empty-pkg -- ./...

.PHONY: debian13
debian13: ## run the tests of desktops, keyrings and the agent in Debian 13 (root, debootstrap; 6 minutes)
	@GO=$(GO) SKIPS=$(SKIPS) tools/debian13

.PHONY: e2e
e2e: bin/gotestsum ## run the suite against a real Vault (first build: 30 minutes, 12 GB)
	@vault=$$($(GO) run -C e2e ./getvault) && $(GO) run -C e2e ./getclients && \
	cd e2e && STEPUP_E2E_VAULT=$$vault ../bin/gotestsum -f testname $(forbid) -- -count=1 -parallel 4 -timeout 20m ./...

.PHONY: e2e-openbao
e2e-openbao: bin/gotestsum ## run that suite against an OpenBao of yours: BAO=/usr/bin/bao
	@[ -x "$(BAO)" ] || { echo "error: BAO names no program; give the path of bao: make e2e-openbao BAO=/usr/bin/bao"; exit 1; }
	@$(GO) run -C e2e ./getclients && \
	cd e2e && STEPUP_E2E_OPENBAO=$(abspath $(BAO)) ../bin/gotestsum -f testname -- -count=1 -parallel 4 -timeout 20m ./...

.PHONY: bench
bench: ## measure the built program beside other proxies (3 minutes); BENCH=full for docs/benchmarks.md
	cd e2e && $(GO) run ./bench $(if $(filter full,$(BENCH)),-full -o ../docs/benchmarks.md)

.PHONY: simulate
simulate: ## play a working day of 200 developers (15 seconds), and compare with docs/operators.md
	@out=$$(STEPUP_SIMULATE=full $(GO) test -count=1 -v -run TestSimulate ./agent/stepup) || { echo "$$out"; exit 1; }; \
	echo "$$out" | grep "^|"

.PHONY: bench-parts
bench-parts: ## run the benchmarks of single packages
	$(GO) test -run '^$$' -bench . -benchmem ./...

.PHONY: pictures
pictures: build ## make the pictures of docs/images anew, of real windows and a terminal (2 minutes)
	@GO=$(GO) tools/pictures docs/images

.PHONY: lint
lint: bin/staticcheck ## gofmt, go vet and staticcheck for every system, the architecture tests
	@unformatted=$$(gofmt -l .); \
	if [ -n "$$unformatted" ]; then echo "not formatted (make fmt):"; echo "$$unformatted"; exit 1; fi
	@set -e; for os in $(systems); do echo "vet for $$os"; GOOS=$$os $(GO) vet ./...; done
	@echo "staticcheck for $(systems)" # at once, because what one system does not use another may
	@printf '%s\n' $(foreach os,$(systems),"$(os): GOOS=$(os)") | bin/staticcheck -matrix ./...
	@set -e; for dir in tools e2e; do \
		echo "vet and staticcheck of the module $$dir"; \
		$(GO) vet -C $$dir ./...; \
		(cd $$dir && ../bin/staticcheck ./...); \
	done
	@$(GO) test .

# Built, not run by go tool: that would build it for the system that it is to look at.
bin/gotestsum bin/staticcheck bin/govulncheck: tools/go.mod tools/go.sum
	@$(GO) build -C tools -o ../$@ $(import)
bin/gotestsum:    import = gotest.tools/gotestsum
bin/staticcheck:  import = honnef.co/go/tools/cmd/staticcheck
bin/govulncheck:  import = golang.org/x/vuln/cmd/govulncheck

.PHONY: fuzz
fuzz: ## run each fuzz target for FUZZTIME (20s)
	@GO=$(GO) tools/fuzz $(FUZZTIME)

.PHONY: cross
cross: ## build for darwin and windows on amd64 and arm64, and throw the result away
	@set -e; dir=$$(mktemp -d); trap 'rm -rf "$$dir"' EXIT; \
	for os in darwin windows; do for arch in amd64 arm64; do \
		echo "build for $$os/$$arch"; \
		CGO_ENABLED=0 GOOS=$$os GOARCH=$$arch $(GO) build -trimpath -o "$$dir/" ./...; \
	done; done

.PHONY: wine
wine: ## run tests of Windows under Wine 10, in a Debian 13 of its own (root, 2 GB)
	@GO=$(GO) tools/wine "$${XDG_CACHE_HOME:-$$HOME/.cache}/stepup/wine"

.PHONY: packages
packages: ## build deb, rpm, apk and Arch packages with SBOM and checksums into dist/
	@rm -rf dist
	packaging/build dist

.PHONY: vuln
vuln: bin/govulncheck ## ask the Go vulnerability database about what stepup calls
	bin/govulncheck ./...

.PHONY: fmt
fmt: ## format the source
	gofmt -w .

.PHONY: clean
clean: ## remove what was built
	rm -rf bin dist
