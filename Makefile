# Everything happens in .venv; constraints.txt pins every package that it holds.
PYTHON ?= python3
BIN := .venv/bin
ARGS ?=

.PHONY: setup demo test check clean

setup: .venv/.ready

.venv/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet -c constraints.txt -e '.[vizdoom,h5,dev]'
	touch $@

demo: setup
	$(BIN)/terrarium demo $(ARGS)

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: check
	$(BIN)/pytest $(ARGS)

clean:
	rm -rf .venv
