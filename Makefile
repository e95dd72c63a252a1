# openami: `make demo` and `make test` are all a stranger needs; each sets up what it uses.
VENV := .venv
BIN := $(VENV)/bin
STAMPS := .stamps
DEMO := demo-data

.PHONY: help setup demo test test-heavy lint types docs bench peers services clean

help:
	@echo "make demo    a small utility at work, from the meters to the bills; ends with its summary"
	@echo "make serve   the same workspace in the browser"
	@echo "make test    lint, types, import contract and all tests"
	@echo "make bench   every promised speed, beside its peer"
	@echo "make setup lint types docs test-heavy peers clean"

setup: $(STAMPS)/venv

$(STAMPS)/venv: constraints.txt pyproject.toml tools/make-venv.sh
	@echo "setting up $(VENV) ..."
	@tools/make-venv.sh $(VENV) constraints.txt --editable
	@mkdir -p $(STAMPS) && touch $@

peers: $(STAMPS)/peers

# Third-party implementations to measure against; a failure here is a skip by name, not an error.
$(STAMPS)/peers: constraints-peers.txt tools/make-venv.sh
	@echo "setting up .venv-peers ..."
	@mkdir -p $(STAMPS)
	@tools/make-venv.sh .venv-peers constraints-peers.txt && touch $@ || \
		echo "no .venv-peers: tests and benches with peers are skipped by name"

services:
	@tools/install-test-services.sh

demo: setup
	@$(BIN)/ami demo --workspace $(DEMO)
	@echo "see it in the browser: $(BIN)/ami serve --workspace $(DEMO)"

serve: setup
	@$(BIN)/ami serve --workspace $(DEMO)

lint: setup
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check -q .
	@$(BIN)/lint-imports

types: setup
	@$(BIN)/mypy

docs: setup
	@$(BIN)/python tools/check_docs.py

test: setup services peers lint types docs
	@$(BIN)/pytest -n 2 --dist loadgroup -m "not heavy"

test-heavy: setup services peers
	@$(BIN)/pytest -m heavy

bench: setup peers
	@$(BIN)/ami bench all

clean:
	rm -rf $(VENV) .venv-peers $(STAMPS) $(DEMO) .mypy_cache .ruff_cache .hypothesis
