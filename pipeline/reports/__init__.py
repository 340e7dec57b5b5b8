"""Looking at results: verify, inspect, contact sheets."""
