# The project's own commands. `make help` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help

CLUSTER := tests/controlplane/cluster.sh

DIR   ?= .run# the folder in which the cluster lives
NODES ?= 30# simulated nodes, a third each of cpu, memory and gpu
REAL  ?= 0# real nodes beside them, as root
CASES ?= 50000# random cases of each property in `make soak`
GRACE ?= $(if $(filter-out 0,$(REAL)),10s,40s)# a node that is silent this long counts as lost

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# --- everyday ---------------------------------------------------------------------------------------------------

.PHONY: demo test soak bench bench-packing lint fmt generate cargo book test-matrix test-upgrade
demo: ## from nothing to a company of pools at work (VMS=1: with virtual machines; DIR=.run; DRIVE=kind or KUBECONFIG: on your cluster)
	@VMS=$(VMS) FETCH=$(FETCH) DRIVE=$(DRIVE) CONFIRM=$(CONFIRM) examples/demo.sh up --dir $(DIR)

# The core's tests run once, without Kubernetes and with a little optimisation, which makes them ten times as fast.
test: cargo ## all tests: core alone, generated files, the control plane itself, scenarios on it
	CARGO_PROFILE_TEST_OPT_LEVEL=1 cargo test --no-default-features --lib
	@FETCH=$(FETCH) tests/controlplane/control-plane.sh >/dev/null
	@for tool in helm glua actionlint tmux promtool chromium mdbook monitoring-crds; do tests/controlplane/tools.sh $$tool >/dev/null || exit 1; done
	tests/controlplane/selftest.sh $(if $(filter 0,$(shell id -u)),--real)
	cargo test -- --skip decide:: --skip model::

MINORS := 1.34 1.36
# Real kubelets are those of the newest minor, in `make test`.
test-matrix: cargo ## the tests on a cluster, against each of two minors of Kubernetes (MINORS="1.34 1.36")
	@for tool in helm glua actionlint promtool monitoring-crds; do tests/controlplane/tools.sh $$tool >/dev/null || exit 1; done
	cargo test --no-run
	@for minor in $(MINORS); do \
	  echo "=== Kubernetes $$minor"; export KUBERNETES=$$minor; unset KUBEBUILDER_ASSETS; \
	  FETCH=$(FETCH) tests/controlplane/control-plane.sh >/dev/null && tests/controlplane/selftest.sh && \
	  cargo test --test main -- scenario::every_scenario_holds_on_a_real_control_plane real:: chart::install --skip real::nodes || exit 1; \
	done

test-upgrade: cargo ## a rolling upgrade from an earlier commit with work running (EARLIER=commit)
	tests/upgrade.sh >/dev/null
	cargo test --test main -- --ignored real::upgrade

soak: cargo ## random worlds and events, new ones each time, ten minutes (CASES=50000)
	CARGO_PROFILE_TEST_OPT_LEVEL=2 WEIR_CASES=$(CASES) cargo test --target-dir target/soak --no-default-features --lib properties
	CARGO_PROFILE_TEST_OPT_LEVEL=1 WEIR_CASES=$(CASES) cargo test --target-dir target/soak --test main -- scenario::whichever_watch

lint: cargo ## format and lints, warnings are errors
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings
	cargo clippy --all-targets --no-default-features -- -D warnings
	@if command -v shellcheck >/dev/null; then shellcheck -x -P SCRIPTDIR .ci/run examples/*.sh; \
	else echo "shellcheck is not installed: shell scripts are not linted"; fi

bench: cargo ## measures it beside a bare client, half an hour (NODES=1000 ARGS="--rounds 1 --variant place")
	@FETCH=$(FETCH) tests/bench/bench.sh $(ARGS)

book: cargo ## builds the documentation as a book into target/book
	@"$$(tests/controlplane/tools.sh mdbook)" build

bench-packing: cargo ## how well strategies pack the tasks of a trace (TRACE=folder; else one that is made up)
	cargo bench --no-default-features --features solver --bench packing -- --trace '$(TRACE)'

fmt: cargo ## formats the code
	cargo fmt

generate: cargo ## writes generated files anew: crds/, docs/reasons.md, docs/reference/, docs/metrics.md, the chart's copies, kustomize/base/
	cargo run --quiet -- crds --dir crds
	WEIR_GENERATE=1 cargo test --quiet --test main docs::
	WEIR_GENERATE=1 cargo test --quiet --test main chart::render::generated
	WEIR_GENERATE=1 cargo test --quiet --test main foresight::replay::a_dump

cargo:
	@command -v cargo >/dev/null || { echo "error: cargo is missing; install Rust from https://rustup.rs" >&2; exit 1; }

# --- control plane ---------------------------------------------------------------------------------------------

.PHONY: control-plane up down
control-plane: ## provides etcd, Kubernetes and KWOK (KUBEBUILDER_ASSETS=folder, FETCH=1)
	@FETCH=$(FETCH) tests/controlplane/control-plane.sh

up: ## starts a cluster (NODES=30 REAL=0 DIR=.run) and writes DIR/kubeconfig
	@FETCH=$(FETCH) $(CLUSTER) up --dir $(DIR) --nodes $(NODES) --real $(REAL) --node-grace $(GRACE) $(if $(AUDIT),--audit)

down: ## ends what `make up` or `make demo` started
	@examples/demo.sh down --dir $(DIR)
	@$(CLUSTER) down --dir $(DIR)
