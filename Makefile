# Everything is done through here; CI runs the same recipes. `make` alone lists them.

TARGET ?= local
RERUNS ?= 2
BIN := .venv/bin
TEST_BUDGET_S := 600
# Outside a git checkout ruff does not read .gitignore.
RUFF_SKIPS := --config 'extend-exclude = [".tools"]'

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-browser test-cluster test-platform terraform-providers check audit chaos catalogue bench bench-gate bench-safety samples screenshot dashboards dashboards-asked reference clean

help:  ## List what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' Makefile

setup:  ## Fetch what the rest needs into .venv and .tools (done by the others when needed)
	@scripts/setup.sh

demo: setup  ## Kill an engine under load on the local platform, and judge what users saw
	@$(BIN)/faultload run engine/replica-loss --target local --reruns $(RERUNS)

test: setup  ## Run every test but tests/cluster, or those in TESTS; PYTEST_ARGS passes arguments on
	@start=$$(date +%s); status=0; \
	$(if $(TESTS),$(BIN)/pytest $(TESTS),scripts/test.sh) --durations=15 --durations-min=0.5 $(PYTEST_ARGS) || status=$$?; \
	took=$$(( $$(date +%s) - start )); \
	echo "make test: $$took s of a budget of $(TEST_BUDGET_S) s"; \
	if [ $$took -gt $(TEST_BUDGET_S) ]; then \
	  echo "OVER BUDGET by $$(( took - $(TEST_BUDGET_S) )) s: see the slowest tests above" >&2; \
	fi; \
	exit $$status

test-browser: setup  ## Build the chat's page and test it, by itself and in a real Chromium, where there are Node and one
	@scripts/test_browser.sh $(or $(TESTS),tests/browser) $(PYTEST_ARGS)

test-cluster: setup  ## Run the tests that need Kubernetes, on a control plane that is found or built with Go
	@$(BIN)/pytest $(or $(TESTS),tests/cluster) $(PYTEST_ARGS)

test-platform: setup  ## Check charts, Terraform, images and dashboards, with Helm and Checkov found or fetched
	@scripts/platform_tools.sh
	@$(BIN)/pytest $(or $(TESTS),tests/deploy) $(PYTEST_ARGS)

check: setup  ## Lint, format, types, layers and contracts, in under a minute
	@$(BIN)/ruff check --quiet $(RUFF_SKIPS) .
	@$(BIN)/ruff format --check --quiet $(RUFF_SKIPS) .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/pytest -q tests/contract

terraform-providers: setup  ## Build what `terraform validate` needs, with Go, where Terraform's registry cannot be reached
	@$(BIN)/python scripts/terraform_providers.py

audit: setup  ## Look the dependencies up among known vulnerabilities, where that can be asked; check their hashes
	@$(BIN)/python scripts/audit.py

chaos: setup  ## Run experiments on TARGET (local) as tests: all, those that SELECT matches, a SAMPLE of them
	@$(BIN)/pytest experiments -m chaos --target $(TARGET) --chaos-reruns $(RERUNS) \
	  $(if $(SELECT),--chaos-select '$(SELECT)') $(if $(SAMPLE),--chaos-sample $(SAMPLE)) $(if $(SEED),--chaos-seed '$(SEED)') $(PYTEST_ARGS)

catalogue: setup  ## Try every experiment on good and on badly configured platforms; hours
	@$(BIN)/python scripts/catalogue.py $(CATALOGUE_ARGS)

bench: setup  ## List the benchmarks and the commands that run them
	@found=$$(ls benchmarks/*.py benchmarks/*/bench.py benchmarks/gate/live.py benchmarks/safety/aborts.py benchmarks/safety/crashes.py 2>/dev/null) || { echo "benchmarks/ holds none yet"; exit 0; }; \
	for file in $$found; do echo "$(BIN)/python $$file"; done

bench-safety: setup  ## Kill the harness at every step of every fault: all (hours), a SAMPLE, ONLY one; CLUSTER=1: on Kubernetes, too
	@$(BIN)/python benchmarks/safety/crashes.py $(if $(ONLY),--only '$(ONLY)') \
	  $(if $(SAMPLE),--sample $(SAMPLE)) $(if $(SEED),--seed '$(SEED)') $(BENCH_ARGS)
ifdef CLUSTER
	@FAULTLOAD_REQUIRE_CLUSTER=1 FAULTLOAD_CRASHES=all $(BIN)/pytest tests/cluster/test_crashes.py $(PYTEST_ARGS)
endif

bench-gate: setup  ## Count how often the regression gate is wrong, for docs/statistics.md; minutes; SMALL=1: a glance
	@$(BIN)/python benchmarks/gate/bench.py $(if $(SMALL),--small)

samples: setup  ## Publish a passing and a failing run of the demo in reports/samples/
	@scripts/samples.sh

screenshot: setup  ## Draw docs/images/report.png from a published run (needs Chromium)
	@$(BIN)/python scripts/screenshot.py reports/samples/replica-loss/report.html docs/images/report.png

dashboards: setup  ## Write platform/observability/dashboards/*.json from the short files beside them
	@$(BIN)/python scripts/dashboards.py

dashboards-asked: setup  ## Ask every query of dashboards, rules and triggers on the local platform, into docs/
	@$(BIN)/python scripts/ask_dashboards.py --table docs/observability-queries.md --pictures docs/images

reference: setup  ## Write docs/faults.md from what the faults say of themselves
	@$(BIN)/faultload faults page > docs/faults.md.new
	@mv docs/faults.md.new docs/faults.md

clean:  ## Remove .venv, .tools and caches; reports/ stays
	rm -rf .venv .tools build platform/chat/node_modules src/*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find src platform tests scripts -type d -name __pycache__ -prune -exec rm -rf {} +
