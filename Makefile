# Each target installs what it needs from Debian (by sudo unless root) and can be run by itself.
# Kernel tests, benchmarks and `make run` need root: they load BPF programs.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

TARGET := $(or $(CARGO_TARGET_DIR),target)
SUDO := $(if $(filter 0,$(shell id -u)),,sudo -E)
# Cargo itself never runs as root for a user: only what it built does, through its runner.
HOST := $(shell rustc -vV 2>/dev/null | sed -n 's/^host: //p' | tr 'a-z-' 'A-Z_')
AS_ROOT := $(if $(SUDO),CARGO_TARGET_$(HOST)_RUNNER="$(SUDO)")
C_SOURCES := $(shell find probes tests bench -name '*.[ch]' 2>/dev/null)
# Flags for `make run` and `make bench`, such as ARGS="--interval 1s".
ARGS ?=
# Kernels of `make test-kernels`; all that Debian has when it is empty.
KERNELS ?=

.PHONY: help
help: ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 24

.PHONY: deps
deps: ## Install the Debian packages that building wants, where missing
	@scripts/install-packages.sh apt-packages.txt

.PHONY: deps-test
deps-test: deps deps-web
	@scripts/install-packages.sh $(wildcard tests/apt-packages.txt)
	@cargo fmt --version >/dev/null 2>&1 || rustup component add rustfmt
	@cargo clippy --version >/dev/null 2>&1 || rustup component add clippy

.PHONY: deps-web
deps-web: ## What drives the web page in Chromium: Node's modules, as the lock file names them
	@# Others' packages of Node bring npm with them, and do not get along with Debian's.
	@{ command -v node && command -v npm; } >/dev/null || scripts/install-packages.sh tests/web/apt-packages.txt
	@cmp -s tests/web/package-lock.json tests/web/node_modules/.installed || { \
		npm ci --prefix tests/web --ignore-scripts --no-audit --no-fund --silent && \
		cp tests/web/package-lock.json tests/web/node_modules/.installed; }

.PHONY: deps-bench
deps-bench: deps deps-web
	@scripts/install-packages.sh $(wildcard tests/apt-packages.txt bench/apt-packages.txt bench/peers/apt-packages.txt)

.PHONY: build
build: deps ## Build the release binary
	cargo build --release --locked --package netsonde

.PHONY: run
run: build ## Build, then show live records of this host (flags in ARGS)
	$(SUDO) $(TARGET)/release/netsonde run $(ARGS)

.PHONY: test
test: check test-web test-workspace ## Everything that must hold: checks, unit tests, kernel tests

.PHONY: check
check: check-format lint check-scripts check-web licences ## Everything but the tests

.PHONY: test-unit
test-unit: deps-test ## Tests that need neither root nor a kernel
	cargo test --locked --package netsonde --package netsonde-audit --package netsonde-bench --package netsonde-dns --package netsonde-history --package netsonde-input --package netsonde-instructions --package netsonde-probes --package netsonde-spool --package netsonde-tls --package netsonde-view --lib --bins

.PHONY: test-web
test-web: deps-test ## Tests of the web page's pure modules
	node --test daemon/web/tests/*.test.js

.PHONY: test-workspace
test-workspace: deps-test ## All tests, against this kernel
	cargo build --locked --workspace
	$(AS_ROOT) scripts/test-workspace.sh

.PHONY: test-faults
test-faults: deps-test ## What fails around netsonde, and to it: nothing lost, nothing twice, memory stays flat
	cargo build --locked --workspace
	$(AS_ROOT) cargo test --locked --package netsonde-tests \
		--test faults --test hardship --test soak --test under_load --test privileges --test api

.PHONY: bench
bench: deps-bench ## What netsonde costs, into bench/results and from there into the pages (ARGS="--only dns" for some)
	cargo build --release --locked --workspace
	$(SUDO) $(TARGET)/release/netsonde-bench --peers $(ARGS)
	$(TARGET)/release/netsonde-bench --render

.PHONY: bench-quick
bench-quick: deps-bench ## Less of it in five minutes, into target/bench, which nothing is quoted from
	cargo build --release --locked --workspace
	$(SUDO) $(TARGET)/release/netsonde-bench --quick $(ARGS)

.PHONY: benchmarks-page
benchmarks-page: deps ## Write docs/benchmarks.md and the numbers in other pages anew from bench/results; a test compares them
	cargo run --locked --quiet --package netsonde-bench --bin netsonde-bench -- --render

.PHONY: instructions
instructions: deps-test ## Instructions of BPF programs and hot paths against bench/instructions.toml (NETSONDE_BLESS=1 writes it)
	@scripts/install-packages.sh bench/instructions/apt-packages.txt
	cargo build --locked --package netsonde-instructions
	$(TARGET)/debug/netsonde-instructions

.PHONY: fmt
fmt: deps-test ## Format Rust and C
	cargo fmt --all
	clang-format -i $(C_SOURCES)

.PHONY: check-format
check-format: deps-test ## Is everything formatted?
	cargo fmt --all --check
	clang-format --dry-run -Werror $(C_SOURCES)

.PHONY: lint
lint: deps-test ## clippy, and rustdoc's own checks
	cargo clippy --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --quiet --workspace --no-deps --document-private-items

.PHONY: check-scripts
check-scripts: deps-test ## shellcheck on all shell scripts
	git ls-files -z | xargs -0 grep -lZE -m1 '^#!.*/(env )?(ba)?sh' | xargs -0 shellcheck

.PHONY: check-web
check-web: deps-test ## Is what the web page carries of npm what npm has, and can every module be read?
	scripts/check-web.sh

.PHONY: licences
licences: deps-test ## Licences, duplicates and sources of all dependencies (deny.toml)
	cargo fetch --locked --quiet
	scripts/cargo-deny.sh --offline check licenses bans sources

.PHONY: advisories
advisories: deps-test ## Known vulnerabilities in dependencies; skipped where GitHub cannot be reached
	@if timeout 20 git ls-remote --quiet --exit-code https://github.com/RustSec/advisory-db HEAD >/dev/null 2>&1; then \
		scripts/cargo-deny.sh check advisories; \
	else \
		echo "advisories: skipped, https://github.com/RustSec/advisory-db cannot be reached"; \
	fi

.PHONY: screenshots
screenshots: deps-test ## Write docs/screenshots anew, from live traffic
	cargo build --locked --workspace
	scripts/screenshots.sh

.PHONY: docs
docs: deps ## The code's own documentation, in target/doc
	cargo doc --locked --workspace --no-deps --document-private-items

.PHONY: reference
reference: deps ## Write docs/reference anew from the code; a test compares them
	NETSONDE_BLESS=1 cargo test --locked --quiet --package netsonde --bin netsonde reference::

.PHONY: dashboards
dashboards: deps-test ## Write the Grafana dashboards anew from config/grafana/source; a test compares them
	config/grafana/generate.py

.PHONY: deps-packages
deps-packages: deps
	@scripts/install-packages.sh packaging/apt-packages.txt

.PHONY: deb
deb: deps-packages ## Build the Debian package into target/packages
	scripts/build-packages.sh deb

.PHONY: rpm
rpm: deps-packages ## Build the RPM package into target/packages
	scripts/build-packages.sh rpm

.PHONY: test-packages
test-packages: deps-packages ## Build, lint, install, upgrade and remove the packages in a Debian of their own
	@scripts/install-packages.sh packaging/test/apt-packages.txt
	$(SUDO) packaging/test/run.sh

.PHONY: deps-vm
deps-vm: deps-packages
	@scripts/install-packages.sh vm/apt-packages.txt

.PHONY: test-kernels
test-kernels: deps-vm ## The kernel tests on Debian's kernels, 5.10 to 7.2, in virtual machines (KERNELS="6.1 7.2" for some)
	$(SUDO) vm/test-kernels.sh $(KERNELS)

.PHONY: test-vm
test-vm: deps-vm ## Install, use, upgrade, kill, remove and purge the package in a Debian that boots in a virtual machine
	$(SUDO) vm/test-boot.sh

.PHONY: test-peers
test-peers: deps-vm ## What netsonde and those of its peers that need kprobes tell of a small load, in a virtual machine
	$(SUDO) vm/peers.sh

.PHONY: cross-check
cross-check: deps ## Build for 64-bit ARM, BPF programs included; nothing of it is run
	@scripts/install-packages.sh scripts/cross-packages.txt
	scripts/cross-check.sh

.PHONY: release
release: deps-packages ## Build packages, a bill of materials and checksums, reproducibly, into target/release-VERSION
	scripts/release.sh
