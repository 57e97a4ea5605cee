"""How fast ESM-2 engines are, measured side by side; `python -m benchmarks.speed --help`."""
