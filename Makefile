# `make demo` and `make test` need nothing but Python 3.11 or newer; the rest is for developers.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DEMO_READY := $(VENV)/.ready-demo
CNNTK := $(BIN)/cnntk
LOWEST := $(VENV)-lowest
TOOLS := $(VENV)-release
RUNTIME := $(VENV)-runtime
EXTRAS := cpu,export,quantize,train,parquet,transformers,timm
# One process per core, each with one torch thread: otherwise they compete for the cores.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --dist loadfile

.PHONY: demo test test-lowest slow soak check size lint types bench release pins clean

define venv
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip
endef

$(READY): pyproject.toml constraints.txt
	$(call venv)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[$(EXTRAS)]' --group dev
	@touch $@

# What `make demo` uses, without tests, lint and what the examples need.
$(DEMO_READY): pyproject.toml constraints.txt
	$(call venv)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[cpu,export,train]'
	@touch $@

demo: $(DEMO_READY)
	@mkdir -p demo
	$(CNNTK) train examples/residual_net.py:residual_net --data digits --image-size 16 --epochs 4 -o demo/digits --force
	$(CNNTK) export demo/digits --trust -o demo/digits.onnx --report demo/report.html --force
	$(CNNTK) verify demo/digits.onnx
	$(CNNTK) quantize demo/digits.onnx --calibration digits --threads 1 -o demo/digits-int8.onnx \
		--report demo/quantized.html --force
	$(BIN)/python -m cnntk.data.digits 7 demo/seven.png
	$(CNNTK) infer -m demo/digits-int8.onnx demo/seven.png
	$(CNNTK) bench demo/digits-int8.onnx --against demo/digits.onnx --seconds 1 --report demo/bench.html --force
	@echo; echo "In demo/: the checkpoint digits/, the artifact digits.onnx, its quantized form digits-int8.onnx, the image"; \
	echo "seven.png, and three pages for a browser: report.html (the export and its checks), quantized.html (the"; \
	echo "candidates of the quantization) and bench.html (the measurements)"

test: $(READY)
	$(PYTEST) -m 'not slow'

# The same tests on the lowest versions that pyproject.toml declares, and the wheel where there is nothing else.
test-lowest: $(LOWEST)/.ready $(TOOLS)/.ready
	OMP_NUM_THREADS=1 $(LOWEST)/bin/python -m pytest --numprocesses auto --dist loadfile -m 'not slow'
	$(TOOLS)/bin/python -m build --wheel --outdir $(LOWEST)/dist
	$(call try_wheel,$(LOWEST)/dist,-c $(LOWEST)/constraints.txt numpy pillow click onnxruntime)

$(LOWEST)/.ready: pyproject.toml constraints.txt tests/lowest_versions.py
	$(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	$(PYTHON) tests/lowest_versions.py > $(LOWEST)/constraints.txt
	$(LOWEST)/bin/python -m pip install --quiet -c $(LOWEST)/constraints.txt -e '.[$(EXTRAS)]' --group dev
	@touch $@

slow: $(READY)
	$(PYTEST) -m slow

# What the record of docs/reliability.md lacks, or a part of it: make soak KIND=images N=10000 MINUTES=10
soak: $(READY)
	$(BIN)/python tests/reliability/soak.py $(KIND) $(if $(N),--cases $(N)) $(if $(MINUTES),--minutes $(MINUTES))

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

# dist/: the wheel, tried with the versions and hashes of constraints-runtime.txt, the source, and a bill of materials.
release: $(TOOLS)/.ready
	rm -rf dist build
	$(TOOLS)/bin/python -m build
	$(call try_wheel,dist,--require-hashes -r constraints-runtime.txt)
	$(TOOLS)/bin/cyclonedx-py environment $(RUNTIME) --output-reproducible \
		--output-file dist/cnntk-$$($(RUNTIME)/bin/python -c 'import cnntk; print(cnntk.__version__)').cdx.json

# $(call try_wheel,FOLDER,REQUIREMENTS): the commands that need no torch, in an environment of these requirements.
define try_wheel
	rm -rf $(RUNTIME)
	$(PYTHON) -m venv --without-pip $(RUNTIME)
	$(TOOLS)/bin/python -m pip --python $(RUNTIME) install --quiet $(2)
	$(TOOLS)/bin/python -m pip --python $(RUNTIME) install --quiet --no-index --find-links $(1) 'cnntk[cpu]'
	$(RUNTIME)/bin/python -I tests/installed_commands.py
endef

# constraints-runtime.txt: the newest versions that the runtime works with, and the hashes of their files.
pins: $(TOOLS)/.ready
	$(TOOLS)/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --extra cpu \
		--no-header --no-annotate --output-file constraints-runtime.txt pyproject.toml

$(TOOLS)/.ready:
	$(PYTHON) -m venv $(TOOLS)
	$(TOOLS)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade pip build cyclonedx-bom uv
	@touch $@

clean:
	rm -rf $(VENV) $(VENV)-types $(LOWEST) $(TOOLS) $(RUNTIME) dist build demo runs *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
