"""The OpenAPI description: routes from FastAPI, schemas from the structs that validate."""

from collections.abc import Mapping
from functools import cache
from typing import Any, Final

import msgspec
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from preble_api.deadlines import CANCEL_AFTER, DURATION
from preble_api.errors import MEDIA_TYPE
from preble_api.gate import OPEN_PATHS, scope_of
from preble_api.generate_schemas import GenerateReply, GenerateRequest
from preble_api.idempotency import IDEMPOTENCY_KEY
from preble_api.list_schemas import EndedJobs, JobList
from preble_api.prefer import PREFER
from preble_api.queue_headers import QUEUE_HEADERS, QueueChoice
from preble_api.schemas import (
    MAX_JOBS,
    Health,
    JobAccepted,
    JobListAccepted,
    JobListRequest,
    JobRequest,
    JobStatus,
    Problem,
)

DESCRIPTION_PATH: Final = "/openapi.json"

_REFERENCE: Final = "#/components/schemas/{name}"
_JSON: Final = "application/json"
_ID_PATTERN: Final = "^[A-Za-z0-9_-]{1,64}$"

SECTIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "Jobs": ("/v1/jobs",),
    "OpenAI": ("/v1/models", "/v1/chat/", "/v1/completions", "/v1/responses"),
    "Files and batches": ("/v1/files", "/v1/batches"),
    "SGLang": (
        "/generate", "/abort_request", "/v1/loads", "/model_info", "/get_model_info",
        "/server_info", "/get_server_info", "/flush_cache",
    ),
    "Probes and metrics": ("/livez", "/readyz", "/health", "/metrics"),
}  # fmt: skip
"""Sections of the reference, by how the paths of their routes begin."""

POOL_SECTION: Final = "Pool"
"""The section of all other routes."""

Json = dict[str, Any]
Responses = dict[int | str, Json]


class DescribedApi(FastAPI):
    """FastAPI that describes msgspec structs."""

    dialects: tuple[type[msgspec.Struct], ...] = ()
    """Structs of packages that use this module; no two may have one name."""
    _page: bytes = b""

    def setup(self) -> None:
        """Declare the description's route before FastAPI does, which encodes it for each client."""
        self.add_route(DESCRIPTION_PATH, self._describe, include_in_schema=False)
        super().setup()

    async def _describe(self, request: Request) -> Response:
        """The whole description, as it was when it was first asked for: all routes are there."""
        del request
        self._page = self._page or msgspec.json.encode(self.openapi())
        return Response(self._page, media_type=_JSON)

    def openapi(self) -> Json:
        """The whole description. Changes: only the copy that FastAPI keeps."""
        description = super().openapi()
        components = description.setdefault("components", {})
        components.setdefault("schemas", {}).update(_schemas(self.dialects))
        components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        # An api on loopback may have none.
        description["security"] = [{}, {"key": []}]
        _describe_guard(description.get("paths", {}))
        _describe_sections(description.get("paths", {}))
        return description


def _describe_guard(paths: Mapping[str, Mapping[str, Json]]) -> None:
    """What the gate may answer in the place of any route that it guards. Changes: `paths`."""
    guard = problems(
        s401="The api key is missing or wrong.",
        s403="The api key lacks a scope, or acts for another tenant.",
    )
    for path, operations in paths.items():
        for method, operation in operations.items():
            if path in OPEN_PATHS:
                operation["security"] = []
            else:
                operation["security"] = [{}, {"key": [scope_of(method.upper())]}]
                operation["responses"] |= {
                    status: guard[status]
                    for status in guard
                    if status not in operation["responses"]
                }


def _describe_sections(paths: Mapping[str, Mapping[str, Json]]) -> None:
    """To which of `SECTIONS` each route belongs. Changes: `paths`."""
    for path, operations in paths.items():
        found = [name for name, begins in SECTIONS.items() if path.startswith(begins)]
        for operation in operations.values():
            operation["tags"] = found[:1] or [POOL_SECTION]


def body_of(*structs: type[msgspec.Struct], array_of: type[msgspec.Struct] | None = None) -> Json:
    """`requestBody` of an operation that takes any of these, or a list."""
    schemas = [_reference(each) for each in structs]
    if array_of is not None:
        bounds = {"minItems": 1, "maxItems": MAX_JOBS}
        schemas.append({"type": "array", "items": _reference(array_of), **bounds})
    schema = schemas[0] if len(schemas) == 1 else {"oneOf": schemas}
    return {"required": True, "content": {_JSON: {"schema": schema}}}


def response_of(description: str, *kinds: type[msgspec.Struct] | Json, **headers: str) -> Json:
    """One entry of `responses`: any of these structs or schemas; headers with their meaning."""
    references = [each if isinstance(each, dict) else _reference(each) for each in kinds]
    schema = references[0] if len(references) == 1 else {"oneOf": references}
    return {
        "description": description,
        "content": {_JSON: {"schema": schema}},
        "headers": {
            name: {"description": meaning, "schema": {"type": "string"}}
            for name, meaning in headers.items()
        },
    }


def list_of(struct: type[msgspec.Struct]) -> Json:
    """The schema of a list of these."""
    return {"type": "array", "items": _reference(struct)}


def job_id_parameter() -> Json:
    """The `job_id` of a path."""
    return path_parameter("job_id", "Id of the job.", _ID_PATTERN)


def instance_parameter() -> Json:
    """The `instance` of a path."""
    return path_parameter("instance", "Id of the instance.", _ID_PATTERN)


def path_parameter(name: str, description: str, pattern: str) -> Json:
    """An id within a path."""
    return {
        "name": name, "in": "path", "required": True, "description": description,
        "schema": {"type": "string", "pattern": pattern},
    }  # fmt: skip


def cancel_after_parameter() -> Json:
    """A deadline for all jobs of a request."""
    pattern = f"^{DURATION.pattern}$"
    schema = {"type": "string", "pattern": pattern, "examples": ["90", "15m", "1h30m"]}
    description = "`deadline_s` of the jobs that name none, in seconds or as a time."
    return {
        "name": CANCEL_AFTER, "in": "header", "required": False, "schema": schema,
        "description": description,
    }  # fmt: skip


def idempotency_key_parameter() -> Json:
    """A name for the request."""
    description = (
        "A name for the request, 1 to 255 printable characters: if it comes again, it is answered "
        "alike and no second job is made, for as long as the results of its jobs are kept."
    )
    return {
        "name": IDEMPOTENCY_KEY, "in": "header", "required": False,
        "schema": {"type": "string", "pattern": "^[!-~]{1,255}$"}, "description": description,
    }  # fmt: skip


def prefer_parameter() -> Json:
    """How long a request waits."""
    description = (
        "`wait=n` answers after n seconds, 60 at most, and `respond-async` at once: with 202 and "
        "where the job is found, if it has not ended. Without effect on streams."
    )
    return {
        "name": PREFER, "in": "header", "required": False,
        "schema": {"type": "string", "examples": ["respond-async", "wait=10"]},
        "description": description,
    }  # fmt: skip


def queue_parameters() -> list[Json]:
    """Where the jobs of a request wait."""
    return header_parameters(QueueChoice, QUEUE_HEADERS)


def tenant_parameter() -> list[Json]:
    """On whose behalf a request is."""
    return header_parameters(QueueChoice, {"tenant": QUEUE_HEADERS["tenant"]})


def header_parameters(struct: type[msgspec.Struct], names: Mapping[str, str]) -> list[Json]:
    """Headers that set the fields of a struct, by field."""
    described = msgspec.json.schema_components([struct])[1][struct.__name__]["properties"]
    return [
        {"name": name, "in": "header", "required": False, "schema": described[field]}
        for field, name in names.items()
    ]


def query_parameters(struct: type[msgspec.Struct]) -> list[Json]:
    """The parameters of a URL, as the struct that takes them."""
    components = msgspec.json.schema_components([struct], ref_template=_REFERENCE)[1]
    described = components[struct.__name__]["properties"]
    return [
        {"name": name, "in": "query", "required": False, "schema": schema,
         "description": schema.pop("description")}
        for name, schema in described.items()
    ]  # fmt: skip


def problems(**by_status: str) -> Responses:
    """Error entries of `responses`, as `problems(s404="no such job")`."""
    content = {MEDIA_TYPE: {"schema": _reference(Problem)}}
    return {
        status.removeprefix("s"): {"description": description, "content": content}
        for status, description in by_status.items()
    }


def _reference(struct: type[msgspec.Struct]) -> Json:
    return {"$ref": _REFERENCE.format(name=struct.__name__)}


@cache
def _schemas(dialects: tuple[type[msgspec.Struct], ...]) -> Json:
    structs = (
        JobRequest, JobListRequest, JobAccepted, JobListAccepted, JobStatus, JobList, EndedJobs,
        Health, Problem, GenerateRequest, GenerateReply, *dialects,
    )  # fmt: skip
    return msgspec.json.schema_components(structs, ref_template=_REFERENCE)[1]
