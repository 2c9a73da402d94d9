# Two commands to know: `make demo` and `make test`. The work is done by scripts in tools/, which say what they do.
.PHONY: help setup build kernels demo test format clean

TRAINER := .build/debug/trainer

help:
	@echo "make demo      install what is missing, build, draw the demo set, train on it and evaluate"
	@echo "make test      the same set-up, then every test"
	@echo "make kernels   check every OpenCL file and compile it for every device"
	@echo "make build     build the program: $(TRAINER)"
	@echo "make format    put the Swift sources in order"

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

format:
	swift format -i -r -p Sources Tests Package.swift

clean:
	rm -rf .build
