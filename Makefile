# `make demo` and `make test` need nothing but Python 3.11 or newer; the rest is for developers.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
CNNTK := $(BIN)/cnntk
EXTRAS := cpu,export,train,parquet,transformers,timm
# One process per core, each with one torch thread: otherwise they compete for the cores.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --dist loadfile

.PHONY: demo test slow check size lint types bench clean

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[$(EXTRAS)]' --group dev
	@touch $@

demo: $(READY)
	@mkdir -p demo
	$(CNNTK) train lenet --data digits -o demo/lenet-digits --force
	$(CNNTK) export demo/lenet-digits -o demo/lenet-digits.onnx --report demo/report.html --force
	$(CNNTK) verify demo/lenet-digits.onnx
	$(CNNTK) inspect demo/lenet-digits.onnx
	$(CNNTK) quantize demo/lenet-digits.onnx --calibration digits --prefer size -o demo/lenet-digits-int8.onnx \
		--report demo/quantized.html --force
	$(BIN)/python -m cnntk.data.digits 7 demo/seven.png
	$(CNNTK) infer -m demo/lenet-digits.onnx demo/seven.png
	$(CNNTK) bench demo/lenet-digits.onnx --report demo/bench.html
	@echo; echo "In demo/: the checkpoint lenet-digits/, the artifact lenet-digits.onnx, the quantized lenet-digits-int8.onnx,"; \
	echo "the image seven.png, and three pages for a browser: report.html (the export and its checks),"; \
	echo "quantized.html (the candidates of the quantization) and bench.html (the measurements)"

test: $(READY)
	$(PYTEST) -m 'not slow'

slow: $(READY)
	$(PYTEST) -m slow

# Lint, types and the fast tests of what changed since origin's main branch.
check: lint types
	$(PYTEST) -m 'not slow' $$($(BIN)/python tests/changed_tests.py)

# Lines of source of each package beside its budget: to look at, not a gate.
size:
	@$(PYTHON) tests/size_table.py

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# mypy follows the packages only where they are installed with static links.
types: $(VENV)-types/.ready
	$(VENV)-types/bin/mypy -p cnntk

$(VENV)-types/.ready: pyproject.toml constraints.txt $(shell find toolkit exporters models runtime -name '*.py')
	$(PYTHON) -m venv $(VENV)-types
	$(VENV)-types/bin/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	$(VENV)-types/bin/python -m pip install --quiet -c constraints.txt --config-settings editable_mode=strict \
		-e '.[$(EXTRAS)]' --group dev
	@touch $@

bench: $(READY)
	$(BIN)/python benchmarks/page.py

clean:
	rm -rf $(VENV) $(VENV)-types build demo runs *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
