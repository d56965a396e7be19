"""Benchmarks of the decision and of the dispatch path: figures as JSON, never asserted.

Absolute times depend on the machine; compare ratios of one run.
"""
