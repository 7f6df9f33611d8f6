# Everything runs in .venv, made here from the project's own files.
PYTHON ?= python3
VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
DEMO ?= demo-project
# Two workers for two cores; more only fight over TensorFlow's threads.
WORKERS ?= 2

.PHONY: help demo test smoke lint format install clean

help:
	@echo "make demo     scaffold a project and train, evaluate and predict with it"
	@echo "make test     lint, format and type checks left aside, every test"
	@echo "make smoke    the quick tests, under 10 s"
	@echo "make lint     ruff and mypy"
	@echo "make format   let ruff format the code"

install: $(VENV)/installed

$(VENV)/installed: runtime/pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e 'runtime[dev]'
	@touch $@

demo: install
	@PATH="$(BIN):$$PATH" ./.ci/demo "$(DEMO)"

test: install
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup tests

# Only files with such tests: to collect the others is to import TensorFlow.
smoke: install
	$(BIN)/python -m pytest -m smoke $$(grep -rl --include="test_*.py" mark.smoke tests)

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV)
