"""Preble: a durable dispatcher for LLM inference jobs that knows what each GPU has cached."""

__version__ = "0.1.0"
