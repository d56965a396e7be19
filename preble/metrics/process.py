"""The registry of one process."""

from prometheus_client import CollectorRegistry, ProcessCollector


def process_registry() -> CollectorRegistry:
    """A registry with the CPU time, memory and open files of this process: `process_…`."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    return registry
