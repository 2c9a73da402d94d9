# The two main commands are `make demo` and `make test`. The scripts in tools/ do the work.
.PHONY: help setup build kernels demo test docs format clean

TRAINER := .build/debug/trainer

help:
	@echo "make demo      install missing packages, build, draw a demo set, train two networks, evaluate"
	@echo "make test      install missing packages, build, run every test"
	@echo "make build     install missing packages, build the program: $(TRAINER)"
	@echo "make kernels   check every OpenCL file and compile it for every device"
	@echo "make docs      run every command that the documents show"
	@echo "make format    format the Swift sources"
	@echo "make clean     remove everything that was built"

setup:
	@tools/setup

build: setup
	swift build --product trainer

kernels: build
	@tools/check_kernels $(TRAINER)
	$(TRAINER) kernels

demo: build
	@tools/demo $(TRAINER)

test: setup
	@tools/run_tests

docs: build
	@tools/check_docs --trainer $(TRAINER)

format:
	swift format -i -r -p Sources Tests Package.swift

clean:
	rm -rf .build
