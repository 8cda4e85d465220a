# One line per job. `make` alone prints them.

TARGET := $(or $(CARGO_TARGET_DIR),target)

.DEFAULT_GOAL := help
.PHONY: help run test check fuzz bench bench-check bench-pm2

help: ## Print these targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

run: ## Build the release binary and run the example application behind it
	scripts/setup run
	cargo build --release -p hythe
	$(TARGET)/release/hythe up examples/directory

test: ## Run all tests, the ones that drive the real binary included
	scripts/setup test
	cargo build -p hythe
	cargo test --workspace

check: ## Formatting, lints and documentation, warnings refused
	scripts/setup run
	cargo fmt --all -- --check
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS=-Dwarnings cargo doc --workspace --no-deps

fuzz: ## Look for input that breaks a parser, FUZZ_SECONDS (60) for each
	scripts/setup test
	scripts/fuzz

bench: ## Measure against nginx, HAProxy, Node.js and a plain relay, and print the tables
	scripts/setup bench
	cargo build --release -p hythe -p hythe-bench
	$(TARGET)/release/hythe-bench

bench-check: ## The same, then compare with the bars; fails when a required one is missed
	scripts/setup bench
	cargo build --release -p hythe -p hythe-bench
	$(TARGET)/release/hythe-bench --check

bench-pm2: ## Measure processes beside PM2: requests lost by reloads, memory, starts, crashes
	scripts/setup bench
	cargo build --release -p hythe -p hythe-bench
	bench/pm2
