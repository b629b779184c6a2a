# The project's commands; each says what it does: `make help`.

SHELL := /bin/bash
SWIFT ?= swift
PACKAGES := librdkafka-dev libxxhash-dev libpcre2-dev libsimdjson-dev libcurl4-openssl-dev libhiredis-dev redis-server libsqlite3-dev etcd-server etcd-client kcat python3-kafka pkg-config chromium fonts-dejavu-core
# What tells, per package, that it is there (the same order).
PROBES := /usr/include/librdkafka/rdkafka.h /usr/include/xxhash.h /usr/include/pcre2.h /usr/include/simdjson.h $(shell pkg-config --variable=includedir libcurl 2>/dev/null || echo /nowhere)/curl/curl.h /usr/include/hiredis/hiredis.h /usr/bin/redis-server /usr/include/sqlite3.h /usr/bin/etcd /usr/bin/etcdctl \
	/usr/bin/kcat /usr/lib/python3/dist-packages/kafka/__init__.py /usr/bin/pkg-config \
	/usr/bin/chromium /usr/share/fonts/truetype/dejavu/DejaVuSans.ttf
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)
RELEASE := .build/release

.PHONY: help deps build test demo drill sim bench bench-check bench-report soak bench-peers bench-work bench-handover bench-plan bench-describe man completions clean

help:
	@echo "make demo         two datacenters at work: one is killed, the other goes on, the first takes its work home again"
	@echo "make drill        a rehearsal with a report: a datacenter is lost and comes back (SCENARIO=planned, zombie, …)"
	@echo "make test         all tests (real brokers, real clients, real etcd)"
	@echo "make build        debug build"
	@echo "make sim          simulated failovers from seeds: make sim SEED=… RUNS=… (10000 unless given), MUTANTS=1 for the mutants"
	@echo "make bench        benchmarks, release build, side by side with plain C"
	@echo "make bench-check  the same; fails when a ratio is under its floor"
	@echo "make bench-report every row that gives figures, and Docs/Benchmarks.md written from them (BENCH='--runs 3')"
	@echo "make soak         two datacenters under load, handovers and kills for MINUTES=30: memory and descriptors must stay flat (plot: .build/soak.svg)"
	@echo "make bench-peers  reading side by side with kcat, confluent-kafka-python and kafka-python (bench-work: with a microsecond of work per record)"
	@echo "make bench-handover  how long nobody acts at a switchover and at a failover, two datacenters under load"
	@echo "make bench-plan   how long taking 10,000 partitions over takes, with a real etcd"
	@echo "make bench-describe  how long 'offsets describe' and 'plan' take for 5,000 partitions in two clusters"
	@echo "make man          manual pages of every command, into .build/man"
	@echo "make completions  shell completions for bash, zsh and fish, into .build/completions"
	@echo "make deps         install what apt has to give: $(PACKAGES)"
	@echo "make clean        remove what was built"

# Installs only when something is missing, so that it can stand before every other target.
deps:
	@missing=(); packages=($(PACKAGES)); i=0; \
	for probe in $(PROBES); do [ -e "$$probe" ] || missing+=("$${packages[$$i]}"); i=$$((i + 1)); done; \
	if [ $${#missing[@]} -gt 0 ]; then \
		echo "installing with apt: $${missing[*]}"; \
		if [ -n "$(SUDO)" ] && ! command -v sudo >/dev/null; then \
			echo "this needs root: run 'apt-get install $${missing[*]}' as root, then try again" >&2; exit 2; fi; \
		$(SUDO) apt-get update -qq && \
		$(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$${missing[@]}"; \
	fi
	@command -v $(SWIFT) >/dev/null || { echo "no Swift toolchain: install Swift 6.2 or newer from swift.org, then try again" >&2; exit 2; }

build: deps
	$(SWIFT) build

# Many tests run brokers, clients and whole datacenters: four at a time keep two cores busy, more only make them late.
test: deps
	$(SWIFT) build --build-tests
	SWT_EXPERIMENTAL_MAXIMUM_PARALLELIZATION_WIDTH=4 $(SWIFT) test --skip-build

demo: deps
	$(SWIFT) build --product switchback
	@$$($(SWIFT) build --show-bin-path)/switchback demo $(DEMO)

drill: deps
	$(SWIFT) build --product switchback
	@$$($(SWIFT) build --show-bin-path)/switchback drill run --scenario $(or $(SCENARIO),dc-loss) $(DRILL)

# A simulation is one thread: the seeds are shared among as many processes as there are cores.
sim: deps
	$(SWIFT) build -c release --product Simulate
	$(RELEASE)/Simulate $(if $(MUTANTS),--mutants,--runs $(or $(RUNS),10000) --jobs $(shell nproc)) $(if $(SEED),--seed $(SEED))

bench: deps wrk peers-venv
	$(SWIFT) build -c release --product switchback
	$(SWIFT) build -c release --product Bench
	$(RELEASE)/Bench all $(BENCH)

bench-check: deps wrk peers-venv
	$(SWIFT) build -c release --product switchback
	$(SWIFT) build -c release --product Bench
	$(RELEASE)/Bench all --check $(BENCH)

bench-report: deps wrk peers-venv
	$(SWIFT) build -c release --product switchback
	$(SWIFT) build -c release --product Bench
	$(RELEASE)/Bench all --write Docs/Benchmarks.md $(BENCH)

soak: deps
	$(SWIFT) build -c release --product switchback
	$(SWIFT) build -c release --product Bench
	$(RELEASE)/Bench soak --minutes $(or $(MINUTES),30) $(SOAK)

# The peer that HTTP actions are held against.
.PHONY: wrk
wrk:
	@command -v wrk >/dev/null || { echo "installing with apt: wrk"; \
		$(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends wrk; }

# The peers that reading is held against: what pip doesn't have is told, and left out of the row.
PEERS_VENV := .build/bench-venv
.PHONY: peers-venv
peers-venv:
	@if ! command -v python3 >/dev/null; then echo "no python3: its clients are not measured"; exit 0; fi; \
	[ -x $(PEERS_VENV)/bin/pip ] || python3 -m venv $(PEERS_VENV) || { echo "python3 has no venv: its clients are not measured"; exit 0; }; \
	for peer in confluent-kafka:confluent_kafka kafka-python:kafka; do \
		$(PEERS_VENV)/bin/python3 -c "import $${peer#*:}" 2>/dev/null && continue; \
		timeout 300 $(PEERS_VENV)/bin/pip install -q --disable-pip-version-check $${peer%:*} || echo "pip can't install $${peer%:*}: it is not measured"; \
	done

bench-peers: peers-venv

# BENCH=--check makes them fail above their bounds.
bench-peers bench-work bench-handover bench-plan bench-describe: deps
	$(SWIFT) build -c release --product switchback
	$(SWIFT) build -c release --product Bench
	$(RELEASE)/Bench $(@:bench-%=%) $(BENCH)

man: deps
	$(SWIFT) build --product switchback
	@rm -rf .build/man && $$($(SWIFT) build --show-bin-path)/switchback manual --directory .build/man
	@echo "man -l .build/man/switchback-offsets.1 shows one of them"

completions: deps
	$(SWIFT) build --product switchback
	@mkdir -p .build/completions; tool=$$($(SWIFT) build --show-bin-path)/switchback; \
	for shell in bash zsh fish; do $$tool --generate-completion-script $$shell > .build/completions/switchback.$$shell || exit 1; done
	@echo "source .build/completions/switchback.bash, or copy them to where your shell looks"

clean:
	rm -rf .build
