"""Reports on results: verify, inspect, contact sheets."""
