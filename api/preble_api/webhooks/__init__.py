"""Webhooks: whoever asked for it is told that a job has ended, at least once (ADR 0028).

schemas.py      what clients send and get
targets.py      where an URL leads, and which are taken
addresses.py    which addresses may be told
lookups.py      how names become addresses
room.py         how many deliveries at once
signing.py      secrets and signatures, as Standard Webhooks
events.py       what is told
posting.py      one attempt: one request to one checked address
deliveries.py   what is due, attempt after attempt
service.py      all of it, for one api
"""
