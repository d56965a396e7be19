"""What the doctor says of lost writes, and of replicas that are to confirm them."""

import pytest
from doctor_support import SERVER, SETTINGS, WELL, findings, only
from msgspec.structs import replace

from preble.broker.facts import Facts, RollbackFacts, ServerFacts
from preble.doctor import Finding, examine
from preble.doctor.failover_rules import RECENT_S

REPLICATED = replace(SETTINGS, durability="replicated")
SOUND = replace(SERVER, replicas=1, min_replicas_to_write=1)
LOSS = RollbackFacts(lost_s=2.5, ago_s=300.0, rollbacks=2)


def problems(server: ServerFacts) -> list[Finding]:
    found = examine(Facts(server, WELL), REPLICATED)
    return [finding for finding in found if finding.level != "note"]


def test_a_recent_loss_is_a_warning_with_its_bounds() -> None:
    finding = only(replace(WELL, rollback=LOSS))
    assert finding.level == "warning"
    assert finding.seen == "Redis lost writes of at most 2.5 s, noticed 5 min ago; 2 losses so far"
    assert "Idempotency-Key" in finding.remedy


def test_a_loss_of_everything() -> None:
    finding = only(replace(WELL, rollback=replace(LOSS, lost_s=None, rollbacks=1)))
    assert finding.seen.startswith("Redis lost all that it held")
    assert finding.seen.endswith("1 loss so far")


def test_a_loss_of_long_ago_is_a_note() -> None:
    found = findings(replace(WELL, rollback=replace(LOSS, ago_s=RECENT_S + 1)))
    (level,) = {finding.level for finding in found if finding.seen.startswith("Redis lost")}
    assert level == "note"


def test_a_sound_replica_is_well() -> None:
    assert problems(SOUND) == []


@pytest.mark.parametrize(
    ("server", "level", "seen"),
    [
        (replace(SOUND, replicas=0), "broken", "no replica is connected"),
        (replace(SOUND, min_replicas_to_write=0), "warning", "min-replicas-to-write is 0"),
    ],
)
def test_what_keeps_writes_from_being_confirmed(server: ServerFacts, level: str, seen: str) -> None:
    (finding,) = problems(server)
    assert finding.level == level
    assert seen in finding.seen


def test_without_an_append_only_file_nothing_is_confirmed() -> None:
    seen = [finding.seen for finding in problems(replace(SOUND, is_append_only=False))]
    assert "durability is replicated, and appendonly is off" in seen


def test_local_durability_asks_for_no_replica() -> None:
    assert examine(Facts(SERVER, WELL), SETTINGS) == findings(WELL)
    assert not any("replicated" in finding.seen for finding in findings(SERVER))


def test_what_is_not_told_is_not_judged() -> None:
    assert problems(replace(SOUND, min_replicas_to_write=None)) == []
