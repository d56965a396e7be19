"""Files that clients upload and batches write: on disk, whole or absent (ADR 0027).

durable.py    writing so that a crash at any moment leaves the old or the new
layout.py     where everything lies below `files_dir`
schemas.py    what clients get
store.py      files of tenants: make, find, list, delete
multipart.py  an upload's parts, as they arrive
content.py    a file's bytes as an answer
uploads.py    from a request to a file
sweeping.py   what has expired or was abandoned goes
routes.py     `/v1/files`
"""
