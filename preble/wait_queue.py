"""The local wait queue: in which order an instance starts the jobs that wait for it."""
