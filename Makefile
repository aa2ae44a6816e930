# Each target does all the set-up it needs, once. `make` alone lists them.
# Everything is built in the release profile, so that one build of torch-sys (two minutes of C++) serves demo and test.

PYTHON ?= python3
RUST   := $(shell sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)

# A waiting thread of libgomp spins by default; beside another busy process that was up to 50 times slower than sleeping.
export OMP_WAIT_POLICY ?= passive

# Here libtorch is always ./libtorch, whatever a shell profile says for other projects; TORCH names another one.
unexport LIBTORCH LIBTORCH_USE_PYTORCH LIBTORCH_LIB LIBTORCH_INCLUDE LIBTORCH_STATIC LIBTORCH_CXX11_ABI

.PHONY: help setup demo paper-debug test bench bench-check docs deny clean tools test-tools

help:
	@echo 'make demo    builds, runs suites/demo.toml and prints the table of results (out/demo)'
	@echo 'make paper-debug  the paper'"'"'s experiment in its smallest tier (suites/paper.toml): pairs with captions only'
	@echo 'make test    builds and runs everything that must pass'
	@echo 'make bench   times the paths that matter (benches/); bench/peers.py times them beside Python'
	@echo 'make bench-check  runs every script of bench/ and tests/golden in its short form, where its Python packages are there (PYTHON=...)'
	@echo 'make docs    builds the pages of docs/ and the API reference as a site (target/book)'
	@echo 'make deny    checks licences and security advisories of all dependencies (deny.toml)'
	@echo 'make setup   only gets libtorch; after it plain cargo build, run and test work'
	@echo '             TORCH=/path/to/python uses the PyTorch 2.11 of that Python instead of a download'
	@echo 'make clean   removes what cargo built; libtorch and out stay'

setup: tools
	@$(PYTHON) setup/libtorch.py

demo: setup
	cargo build --release
	target/release/gauntlet run suites/demo.toml --out out/demo

test: setup test-tools
	cargo fmt --all --check
	cargo clippy --release --workspace --all-targets -- -D warnings
	# Examples in the docs are run by rustdoc, which does not link with the path of libtorch.
	LD_LIBRARY_PATH="$(CURDIR)/libtorch/lib$${LD_LIBRARY_PATH:+:$$LD_LIBRARY_PATH}" cargo test --release --workspace

# The paper's experiment in its smallest tier: pairs with captions only, ten downstream sets, in some minutes.
paper-debug: setup
	cargo build --release
	@[ -e out/debug-data/pairs ] || target/release/gauntlet data world --out out/debug-data/pairs $(DEBUG_WORLD)
	target/release/gauntlet run suites/paper.toml --tier debug --out out/debug

DEBUG_WORLD := --pairs 4000 --classes 10 --colours 2 --attributes 0.5 --noise 0.06

bench: setup
	cargo bench --bench main

bench-check: setup
	cargo build --release
	cargo build --release -p gauntlet --examples
	$(PYTHON) bench/check.py

# mdBook empties target/book when it builds, so the API reference follows. `--lib`: the program has the name of the core library.
docs: setup
	@$(call installed,mdbook,$(MDBOOK))
	target/tools/bin/mdbook build
	cargo doc --release --workspace --no-deps --lib
	rm -rf target/book/api && cp -r target/doc target/book/api
	@echo 'the site: target/book/index.html'

deny: setup
	@$(call installed,cargo-deny,$(CARGO_DENY))
	target/tools/bin/cargo-deny --all-features check

# Tools that only these two need, at pinned versions, in target/tools.
MDBOOK     := 0.5.4
CARGO_DENY := 0.20.2
installed = [ -e target/tools/$(1)-$(2) ] || { cargo install --locked --root target/tools $(1)@$(2) && touch target/tools/$(1)-$(2); }

clean:
	cargo clean

# The tools ------------------------------------------------------------------------------------------------------------

missing = { echo "make: $(1)" >&2; exit 1; }
a_compiler := a C++ compiler (Debian, Ubuntu: apt install build-essential; Fedora: dnf install gcc-c++)
a_chromium := Chromium, with which tests look at the report (Debian: apt install chromium; Fedora: dnf install chromium), or name one in CHROMIUM, or set GAUNTLET_NO_BROWSER=1
a_python   := Python 3.8 or newer with pip (Debian, Ubuntu: apt install python3-pip; Fedora: dnf install python3-pip)

tools:
	@command -v cargo >/dev/null || $(call missing,cargo is missing: install Rust $(RUST) or newer from https://rustup.rs)
	@have=$$(rustc --version | cut -d' ' -f2); [ "$$(printf '%s\n' $(RUST) "$$have" | sort -V | head -n 1)" = $(RUST) ] \
	  || $(call missing,Rust $$have is too old: install $(RUST) or newer (rustup update))
	@command -v "$${CXX:-c++}" >/dev/null || $(call missing,$${CXX:-c++} is missing: install $(a_compiler))
	@command -v cc >/dev/null || $(call missing,cc is missing: install $(a_compiler))
	@command -v $(PYTHON) >/dev/null || $(call missing,$(PYTHON) is missing: install $(a_python))

test-tools: tools
	@cargo fmt --version >/dev/null 2>&1 || $(call missing,cargo fmt is missing: rustup component add rustfmt)
	@cargo clippy --version >/dev/null 2>&1 || $(call missing,cargo clippy is missing: rustup component add clippy)
	@[ "$$GAUNTLET_NO_BROWSER" = 1 ] \
	  || for name in "$${CHROMIUM:-chromium}" chromium-browser google-chrome; do command -v "$$name" >/dev/null && exit 0; done \
	  || $(call missing,no browser: install $(a_chromium))
