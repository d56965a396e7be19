"""What comes into the memory broker's pool: ADMIT and RETRY, and the bounds that they keep."""

from collections import Counter
from collections.abc import Sequence

from preble.broker.answers import KEY_REUSED, Admitted, Retried
from preble.broker.bounds import Allowance, Bound, Bounds, DrainRate
from preble.broker.memory_records import Job
from preble.broker.memory_state import MemoryState
from preble.broker.sent import sent_texts
from preble.broker.tenant_rates import TenantRates
from preble.errors import KeyReused, QueueFull
from preble.messages import JobId, JobsAdmitted, JobState, Submission


class MemoryAdmission:
    """Takes new jobs into one pool."""

    def __init__(self, state: MemoryState, bounds: Bounds) -> None:
        self._state = state
        self._bounds = bounds
        self._rates = TenantRates(bounds)
        self._drain = DrainRate()

    def admit(self, batch: Sequence[Submission]) -> Admitted:
        """Take new jobs, all or none."""
        jobs = self._state.jobs
        known = [job for job in batch if job.job_id in jobs]
        if any(jobs[job.job_id].fingerprint != job.fingerprint for job in known):
            return KeyReused(KEY_REUSED)
        new = [job for job in batch if job.job_id not in jobs]
        num_bytes = sum(sent_texts(job).num_bytes for job in new)
        if refusal := self._full(new, num_bytes) or self._too_fast(new):
            return refusal
        self._take(new)
        return self._allowance(new) if new and self._bounds.are_tenants_bound else None

    def retry(self, job_id: JobId) -> Retried:
        """Let a failed job wait again."""
        state = self._state
        job = state.jobs.get(job_id)
        if job is None:
            return None
        if job.state is not JobState.FAILED:
            return job.state
        submission = Submission(job_id, job.spec, job.prompt, job.block_keys)
        refusal = state.dead_letters.dropped(job) or self._full([submission], job.num_sent_bytes)
        if refusal:
            return refusal
        state.dead_letters.forget(job)
        state.ended.forget(job_id)
        job.begin_anew(state.clock.now_s())
        state.ingresses.append(job_id, job)
        state.count("retried", 1)
        state.signal(JobsAdmitted(1))
        return job.state

    def _take(self, new: Sequence[Submission]) -> None:
        state, now_s = self._state, self._state.clock.now_s()
        self._rates.take(_by_tenant(new), now_s=now_s)
        for each in new:
            state.num_admitted += 1
            job = Job(
                each.spec, each.prompt, each.block_keys, now_s, order=state.num_admitted,
                num_sent_bytes=sent_texts(each).num_bytes,
                fingerprint=each.fingerprint, webhook=each.webhook,
            )  # fmt: skip
            state.jobs[each.job_id] = job
            state.ingresses.append(each.job_id, job)
        if new:
            state.signal(JobsAdmitted(len(new)))

    def _full(self, new: Sequence[Submission], num_bytes: int) -> QueueFull | None:
        bound = self._passed_bound(new, num_bytes)
        if bound is None:
            return None
        totals = self._state.totals
        num_ended = sum(totals.get(state, 0) for state in JobState if state.is_terminal)
        ended_per_s = self._drain.observe(num_ended, now_s=self._state.clock.now_s())
        return self._bounds.refusal(bound, ended_per_s=ended_per_s)

    def _allowance(self, new: Sequence[Submission]) -> Allowance:
        rates, now_s, most = self._rates, self._state.clock.now_s(), self._bounds.max_tenant_jobs
        held, tenants = self._held(), _by_tenant(new)
        left = [rates.left(tenant, now_s) for tenant in tenants]
        if most:
            left += [most - held[tenant] for tenant in tenants]
        return self._bounds.allowance(min(left), full_in_s=rates.full_in_s(tenants, now_s=now_s))

    def _held(self) -> Counter[str]:
        jobs = self._state.jobs.values()
        return Counter(job.spec.tenant for job in jobs if not job.state.is_terminal)

    def _passed_bound(self, new: Sequence[Submission], num_bytes: int) -> Bound | None:
        state, bounds, held = self._state, self._bounds, self._held()
        if held.total() + len(new) > bounds.max_jobs:
            return "jobs"
        if state.prompt_bytes + num_bytes > bounds.max_prompt_bytes:
            return "prompt bytes"
        if not state.ingresses.has_room(new, bounds.max_ingresses):
            return "ingress queues"
        most = bounds.max_tenant_jobs
        is_over = any(held[tenant] + number > most for tenant, number in _by_tenant(new).items())
        return "jobs of one tenant" if most and is_over else None

    def _too_fast(self, new: Sequence[Submission]) -> QueueFull | None:
        wait_s = self._rates.wait_s(_by_tenant(new), now_s=self._state.clock.now_s())
        return self._bounds.too_fast(wait_s) if wait_s else None


def _by_tenant(jobs: Sequence[Submission]) -> Counter[str]:
    return Counter(job.spec.tenant for job in jobs)
