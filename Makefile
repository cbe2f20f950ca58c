# What a developer does with this project. `make` alone lists it.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

CACHE := $(or $(VISIOBOOK_CACHE),$(HOME)/.cache/visiobook)
# Outside of the checkout, so that a fresh clone builds on what is there.
export CARGO_TARGET_DIR ?= $(CACHE)/cargo/$(shell rustc -V | cut -d' ' -f2)
# Cargo takes what another checkout at another path has built for its own where the files are older than that: it would run
# the other's programs.
$(shell built='$(CARGO_TARGET_DIR)/checkout'; [ "$$(cat "$$built" 2>/dev/null)" = '$(CURDIR)' ] || { \
  find src tests e2e benches -name '*.rs' -exec touch {} +; \
  mkdir -p "$${built%/*}" && echo '$(CURDIR)' >"$$built"; } 2>/dev/null)
IMAGE ?= ghcr.io/visiobook/visiobook:dev
# How the programs of the image are compiled: `trial` where they are tried and not measured.
export PROFILE ?= release
TARGET := $(shell rustc -vV | sed -n 's/^host: //p')
# What asks and counts. What is measured is the release beside it: to link that a second time, for this, would take long.
BENCH := RUSTFLAGS="-C target-feature=+crt-static" cargo bench --locked --profile trial --target $(TARGET) --bench
CLUSTER_TOOL := e2e/cluster/cluster
SCRIPTS := $(shell grep -rlE '^\#!/usr/bin/env bash|^\# shellcheck shell' e2e)

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^##@/ { print "\n" substr($$0, 5) } /^[a-z0-9-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

##@ without a cluster

.PHONY: lint
lint: ## formatting, clippy, shellcheck
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	cargo clippy --locked --test e2e --test stores --test services --test alerts -- -D warnings # which --all-targets passes over
	if command -v shellcheck >/dev/null; then shellcheck -x $(SCRIPTS); else echo 'shellcheck is not installed: scripts not checked'; fi

.PHONY: audit
audit: ## licences, sources and known vulnerabilities of the dependencies (builds cargo-deny, once)
	e2e/audit

.PHONY: unit
unit: ## tests that need no cluster
	cargo test --locked

.PHONY: stores
stores: ## the sidecar's checks and the domain services on real servers of PostgreSQL and Redis
	e2e/stores

.PHONY: alerts
alerts: ## the alerts against Prometheus' promtool (builds it, once)
	e2e/alerts

.PHONY: fuzz
fuzz: ## bent requests against the sidecar, for a minute
	VISIOBOOK_FUZZ_SECONDS=$${VISIOBOOK_FUZZ_SECONDS:-60} cargo test --locked --test sidecar fuzz -- --nocapture

.PHONY: generate
generate: ## write anew what is generated: CRDs, golden files, tables of the documentation
	cargo run --locked --quiet -- crd --write crds/
	cargo run --locked --quiet -- policy --write config/policy/
	UPDATE_GOLDEN=1 cargo test --locked --quiet --test all -- golden reference chart

.PHONY: binary
binary: ## the command line, the operator and the sidecar, each as one static binary
	RUSTFLAGS="-C target-feature=+crt-static" cargo build --locked --profile $(PROFILE) --bins --target $(TARGET)

.PHONY: image
image: binary ## its container image, loaded into the cluster if one is up
	mkdir -p $(CACHE)/image
	cp $(addprefix $(CARGO_TARGET_DIR)/$(TARGET)/$(PROFILE)/,visiobook visiobook-operator visiobook-sidecar) $(CACHE)/image/
	tar=$$(e2e/cluster/image $(IMAGE) $(CACHE)/image Dockerfile --target prebuilt); \
	if $(CLUSTER_TOOL) status >/dev/null 2>&1; then $(CLUSTER_TOOL) load "$$tar"; echo "loaded $(IMAGE)"; else echo "$$tar"; fi

##@ with a cluster (CLUSTER=local, kind or current)

.PHONY: tools
tools: ## build the programs of the local cluster (about 10 minutes, once)
	$(CLUSTER_TOOL) tools

.PHONY: cluster-up
cluster-up: ## bring up a cluster, or do nothing if it is up
	$(CLUSTER_TOOL) up

.PHONY: cluster-down
cluster-down: ## remove it without a trace
	$(CLUSTER_TOOL) down

.PHONY: kubeconfig
kubeconfig: ## print the path of its kubeconfig
	@$(CLUSTER_TOOL) kubeconfig

.PHONY: images
images: ## build and load the images of the tests and examples
	images=$$(e2e/cluster/images/build); $(CLUSTER_TOOL) load $$images

.PHONY: e2e
e2e: ## tests on the cluster; FILTER=name for some of them
	e2e/run $(FILTER)

.PHONY: demo
demo: ## the operator and the examples, from nothing to Ready
	e2e/demo

.PHONY: demo-platform
demo-platform: ## stores, domain services and an application: up in order, released under load, and without their stores
	e2e/demo-platform

.PHONY: test
test: ## everything: lint, unit, and e2e on a cluster of its own
	e2e/test

.PHONY: soak
soak: cluster-up image images ## the long variants of the tests; their outcome belongs into the docs
	e2e/install
	VISIOBOOK_FUZZ_SECONDS=600 $(MAKE) fuzz
	VISIOBOOK_REQUESTS=10000 $(MAKE) stores
	VISIOBOOK_SOAK=1 e2e/run $(FILTER) --include-ignored

.PHONY: bench
bench: cluster-up image ## measure the operator; PART=fleet, gate or releases for one of them; figures go to target/bench.json
	e2e/bench $(PART)

.PHONY: bench-sidecar
bench-sidecar: binary ## measure the sidecar beside nginx, without a cluster
	command -v nginx >/dev/null || apt-get install -y -qq --no-install-recommends nginx-light </dev/null >/dev/null
	VISIOBOOK_BIN=$(CARGO_TARGET_DIR)/$(TARGET)/release/visiobook $(BENCH) sidecar

.PHONY: bench-services
bench-services: binary ## measure the service users beside pgbench, without a cluster
	. e2e/cluster/say.sh; . e2e/cluster/packages.sh; install_stores
	VISIOBOOK_BIN=$(CARGO_TARGET_DIR)/$(TARGET)/release/visiobook $(BENCH) services
