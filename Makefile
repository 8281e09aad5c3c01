# The two that everybody needs: `make demo` and `make test`. Each installs what it lacks.
SHELL := bash
.DEFAULT_GOAL := help

.PHONY: help demo test test-long fuzz check bench docs screenshots tools build lambda

help: ## Shows this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 12

demo: ## Mounts a workspace on the embedded store, works in it, and proves what is in the bucket
	@scripts/demo.sh

test: ## Runs all tests, real servers included, and the short forms of the long suites
	@scripts/test.sh short

test-long: ## Runs all tests and the long forms of the suites (hours on a small machine)
	@scripts/test.sh long

fuzz: ## Looks for ten minutes with each fuzz target; FUZZ=head chooses one
	@RESULT=/dev/stdout bash scripts/suites/fuzz.sh long $(FUZZ)

check: ## Format, clippy with warnings as errors, arrows between crates, licences
	@scripts/check.sh

bench: ## Measures us beside rclone, s3fs, JuiceFS and ext4; BENCH="--only ls --rounds 3" chooses
	@scripts/bench/run.sh $(BENCH)

docs: ## Writes docs/reference from the code, and the API documentation
	@scripts/docs.sh

screenshots: ## Writes the pictures of docs/console.md, from the console in a browser
	@SCREENSHOTS=$$PWD/docs/images bash scripts/suites/console.sh short

tools: ## Installs the servers and clients that tests use, into .tools
	@bash -c '. scripts/lib.sh && require_tools && require_contract_tools'

build: ## Builds the programs into target/debug
	@bash -c '. scripts/lib.sh && require_rust && cargo build --locked --workspace && say "the programs are in $$target/debug"'

lambda: ## Packs the vault's worker for AWS Lambda, for this machine's processor: target/lambda/worker-ARCH.zip
	@scripts/lambda.sh
