"""The same job in other tools, each a program of its own.

    python -m benchmarks.peers.NAME WORKLOAD --images N --output DIR

reads the first N images of a workload from files, encodes them with the
workload's encoder, and writes one record of tokens per image to DIR.
"""
