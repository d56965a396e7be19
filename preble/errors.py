"""Every error that Preble raises on purpose.

PrebleError
├── ConfigError              a setting or an argument is wrong: tell the user, exit
├── JobRejected              a job cannot be taken: the client is told why (4xx)
│   ├── InvalidJob           a field is wrong; names it
│   ├── PromptTooLong        prompt plus output do not fit the context
│   ├── KeyReused            its Idempotency-Key was used for another request
│   ├── PromptDropped        it failed and cannot be run again
│   └── QueueFull            a bound is reached; try again later
├── BrokerError
│   ├── BrokerUnavailable    Redis unreachable, loading, or full
│   ├── NotLeader            another scheduler leads; this one must stop deciding
│   ├── InstanceFenced       a newer worker took this instance over
│   └── PoolMismatch         schema, tokenizer, context, block or page differ from the pool's
├── EngineError
│   ├── EngineRefused        the engine will never run this job (its own 4xx)
│   ├── EventsLost           what the engine holds is no longer known
│   └── EngineUnavailable    the engine cannot be reached or died: the job may run again
└── InvariantError           a bug in Preble: never caught
"""


class PrebleError(Exception):
    """Base of all errors raised on purpose; its text is fit for a user."""


class ConfigError(PrebleError):
    """A setting or argument is wrong."""


class JobRejected(PrebleError):
    """A job cannot be taken."""


class InvalidJob(JobRejected):
    """A field of a submitted job is wrong.

    Args:
        field: Name of the field as the client wrote it, such as `sampling_params.top_p`.
        message: What is wrong and what would be right.
    """

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class PromptTooLong(InvalidJob):
    """Prompt tokens plus requested output tokens do not fit the model's context."""


class KeyReused(JobRejected):
    """A job's Idempotency-Key was used before, for another request."""


class PromptDropped(JobRejected):
    """A failed job cannot be run again, for its prompt is no longer kept."""


class QueueFull(JobRejected):
    """A bound of the pool is reached.

    Args:
        message: Which bound, and its size.
        retry_after_s: Seconds after which trying again is sensible.
    """

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class BrokerError(PrebleError):
    """The queue could not do what was asked."""


class BrokerUnavailable(BrokerError):
    """Redis cannot be reached, is loading its data, or is out of memory."""


class NotLeader(BrokerError):
    """Another scheduler leads the pool."""


class InstanceFenced(BrokerError):
    """A newer worker has registered this instance."""


class PoolMismatch(BrokerError):
    """This process disagrees with the pool about schema, tokenizer, context, block or page."""


class EngineError(PrebleError):
    """An engine could not run a job."""


class EngineRefused(EngineError):
    """The engine refuses this job for good."""


class EngineUnavailable(EngineError):
    """The engine cannot be reached or has died; the job may run again elsewhere."""


class EventsLost(EngineError):
    """KV cache events were missed: what the engine holds is no longer known."""


class InvariantError(PrebleError):
    """A bug in Preble itself."""
