"""Jobs as a principal may see them: what is another tenant's is unknown, in the same words."""

from http import HTTPStatus
from typing import Final

from starlette.requests import Request

from preble.broker import Broker
from preble.messages import JobId, JobView
from preble_api.errors import HttpError
from preble_api.job_ids import JobIds, has_expired
from preble_api.principal import principal_of

_UNKNOWN: Final = "no such job"


class JobAccess:
    """Finds the job that a request's path names.

    Args:
        broker: The queue.
        ids: Of its jobs.
        result_ttl_s: For which results are kept.
    """

    def __init__(self, broker: Broker, ids: JobIds, *, result_ttl_s: float) -> None:
        self._broker = broker
        self._ids = ids
        self._result_ttl_s = result_ttl_s

    async def job(self, request: Request) -> JobView:
        """The job as it stands.

        Raises:
            HttpError: If there is none for whoever asks (404), or it has expired (410).
            BrokerUnavailable: If the queue did not answer.
        """
        job_id = self._named(request)
        view = await self._broker.view(job_id)
        if view is None or not principal_of(request.scope).may_see(view.spec.tenant):
            raise await self._unknown(job_id)
        return view

    async def require(self, request: Request) -> JobId:
        """The id of a job that whoever asks may touch. Raises: as `job`.

        Who may touch all jobs is not made to wait for a look at this one: what comes next tells
        whether it is there.
        """
        if principal_of(request.scope).tenant is None:
            return self._named(request)
        return (await self.job(request)).job_id

    def _named(self, request: Request) -> JobId:
        """Of the path. Raises: HttpError (404) if it cannot be any job's."""
        job_id: str = request.path_params["job_id"]
        if not self._ids.may_be(job_id):
            raise _unknown_job()
        return JobId(job_id)

    async def _unknown(self, job_id: JobId) -> HttpError:
        kept_s = min(self._result_ttl_s, await self._broker.counts.kept_s())
        if not has_expired(job_id, kept_s=kept_s):
            return _unknown_job()
        message = f"the job has ended, and its result, kept for {kept_s:.0f} s, is gone"
        return HttpError(HTTPStatus.GONE, "job_expired", message)


def _unknown_job() -> HttpError:
    return HttpError(HTTPStatus.NOT_FOUND, "job_not_found", _UNKNOWN)
