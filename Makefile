# Malla's front door. Every target is one `cargo xtask` subcommand: `cargo xtask --help` tells the rest.
# rustup puts cargo there, and root's PATH under sudo or make may not have it.
export PATH := $(PATH):$(or $(CARGO_HOME),$(HOME)/.cargo)/bin

.PHONY: help demo demo-down test test-all bench-services bench-packets bench-updates bench-policy bench-flows build setup tidy

# Without a target nothing is installed or started.
help: ; @xtask/bootstrap && cargo xtask --help
demo: ; @xtask/bootstrap root && cargo xtask demo
demo-down: ; @xtask/bootstrap root && cargo xtask demo-down
test: ; @xtask/bootstrap root && cargo xtask test
test-all: ; @xtask/bootstrap root && cargo xtask test --all
bench-services: ; @xtask/bootstrap root && cargo xtask bench services
bench-packets: ; @xtask/bootstrap root && cargo xtask bench packets
bench-updates: ; @xtask/bootstrap root && cargo xtask bench updates
bench-policy: ; @xtask/bootstrap root && cargo xtask bench policy
bench-flows: ; @xtask/bootstrap root && cargo xtask bench flows
build: ; @xtask/bootstrap && cargo xtask build
setup: ; @xtask/bootstrap root && cargo xtask setup --for test
tidy: ; @xtask/bootstrap && cargo xtask tidy
