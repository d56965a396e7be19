"""The worker application of Preble: one engine, fed from the queue."""
