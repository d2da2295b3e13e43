# `make demo` and `make test` set themselves up; PYTHON chooses the interpreter (3.10 to 3.13).
PYTHON ?= python3
VENV ?= .venv
DEMO ?= demo
WORKERS ?= 2
READY := $(VENV)/.ready
BIN := $(VENV)/bin

.PHONY: demo test lint check-types heavy docs clean

$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $(READY)

demo: $(READY)
	rm -rf $(DEMO)
	$(BIN)/paucis phantom $(DEMO)/phantom --cases 24 --labeled 6 --test 6
	$(BIN)/paucis train $(DEMO)/phantom --method mean_teacher --out $(DEMO)/run --recipe demo
	$(BIN)/paucis predict $(DEMO)/run $(DEMO)/phantom/imagesTs --out $(DEMO)/predictions
	$(BIN)/paucis evaluate $(DEMO)/predictions $(DEMO)/phantom/labelsTs
	@echo
	@echo "masks              $(DEMO)/predictions/*.nii.gz"
	@echo "uncertainty maps   $(DEMO)/predictions/maps"
	@echo "metrics table      $(DEMO)/predictions/evaluation/cases.csv and summary.md"
	@echo "picture sheet      $(DEMO)/predictions/evaluation/sheet.png"

test: $(READY) lint check-types
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m "not heavy"

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

check-types: $(READY)
	$(BIN)/mypy

heavy: $(READY)
	$(BIN)/python -m pytest -m heavy

docs: $(READY)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[docs]"
	$(BIN)/mkdocs build --strict

clean:
	rm -rf $(VENV) $(DEMO) site
