# `make train` and `make test` work on a fresh clone: each sets up .venv first (seconds when it is there).
.DEFAULT_GOAL := help
.PHONY: help setup train test test-all lint format typecheck check lock clean

ARGS ?=
BIN := .venv/bin

help: ## what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## .venv with the locked versions (PYTHON=... chooses the Python of a new .venv)
	@sh launch/setup.sh

train: setup ## the quickstart recipe: SFT, PPO, evaluation, report (ARGS='--seed 1' overrides fields)
	$(BIN)/stepcoder train --config configs/quickstart.yaml $(ARGS)

test: setup ## the default test suite (ARGS='-k curriculum' selects)
	$(BIN)/python -m pytest $(ARGS)

test-all: setup ## also the slow tests
	$(BIN)/python -m pytest -m "not gpu" $(ARGS)

lint: setup ## ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: setup ## ruff's fixes and format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

typecheck: setup ## mypy on both packages
	$(BIN)/mypy

check: lint typecheck test ## everything that .ci/run checks

lock: ## resolve the versions anew (needs uv; ARGS=--upgrade for the newest)
	sh launch/lock.sh $(ARGS)

clean: ## remove .venv and every cache, keep runs/
	rm -rf .venv .venv-tools .cache .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	find . -name '*.egg-info' -type d -prune -exec rm -rf {} +
