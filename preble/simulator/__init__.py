"""The simulator: the production Scheduler on a virtual clock, with engines by cost model."""
