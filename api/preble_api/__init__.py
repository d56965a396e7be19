"""The HTTP application of Preble."""
