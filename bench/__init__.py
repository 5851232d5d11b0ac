"""The benchmarks: `python -m bench`. How they measure is told in docs/performance.md."""
