"""Files as clients send and get them: OpenAI's objects."""

from typing import Annotated, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from preble_api.schemas import TenantName

DAY_S: Final = 86_400
KEPT_S: Final = 30 * DAY_S
"""How long a file is kept that says nothing itself, as OpenAI keeps those of batches."""

SHORTEST_KEPT_S: Final = 3_600
MAX_PAGE: Final = 1_000
"""Files on one page, whatever was asked for."""

Purpose = Literal["batch", "batch_output"]
KeptS = Annotated[
    int, Meta(ge=SHORTEST_KEPT_S, le=KEPT_S, description="How long it is kept; else 30 days.")
]
UnixS = Annotated[int, Meta(description="Unix seconds.")]


class ExpiresAfter(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When a file expires: so many seconds after it was made."""

    seconds: KeptS
    anchor: Annotated[Literal["created_at"], Meta(description="From when on they count.")]


class FileObject(msgspec.Struct, frozen=True):
    """A file without its content."""

    id: str
    bytes: int
    created_at: UnixS
    filename: str
    purpose: Purpose
    expires_at: UnixS
    object: Literal["file"] = "file"
    status: Literal["processed"] = "processed"
    status_details: None = None


class FileDeleted(msgspec.Struct, frozen=True):
    """A file that is no more."""

    id: str
    object: Literal["file"] = "file"
    deleted: Literal[True] = True


class FileList(msgspec.Struct, frozen=True):
    """A page of files; `last_id` as `after` brings the next."""

    data: list[FileObject]
    has_more: bool
    first_id: str | None
    last_id: str | None
    object: Literal["list"] = "list"


class FileListQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The parameters of a list."""

    after: Annotated[str | UnsetType, Meta(description="`last_id` of the page before.")] = UNSET
    limit: Annotated[
        int, Meta(ge=1, le=10_000, description=f"Most files; at most {MAX_PAGE} come at once.")
    ] = MAX_PAGE
    order: Annotated[
        Literal["desc", "asc"], Meta(description="The newest first, or the oldest.")
    ] = "desc"
    purpose: Annotated[str | UnsetType, Meta(description="Only files of this purpose.")] = UNSET


class UploadFields(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What stands beside the file in an upload."""

    purpose: Literal["batch"]
    expires_after: ExpiresAfter | None = None
    tenant: TenantName | None = None
