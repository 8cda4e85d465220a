"""Measures Hythe and PM2 side by side: see `bench/pm2 --help` and docs/benchmarks.md."""
