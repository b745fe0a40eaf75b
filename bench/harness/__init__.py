"""The benchmark's harness: data sets and their truth, engines, measuring, reports. `bench/run` starts it."""
