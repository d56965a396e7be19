"""What docker-compose.yml, the Dockerfile and their locks must not lose; no engine is asked."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest
import yaml  # type: ignore[import-untyped]  # its types are a package of their own

from preble.config import load_settings

ROOT: Final = Path(__file__).parents[2]
DOCKERFILE: Final = (ROOT / "Dockerfile").read_text()
SECRETS: Final = "./deploy/compose/secrets"
VARIABLE: Final = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")

Service = Mapping[str, Any]


def compose() -> dict[str, Any]:
    parsed: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return parsed


def in_profile(profile: str | None) -> dict[str, Service]:
    services: dict[str, Service] = compose()["services"]
    wanted = [profile] if profile else []
    return {name: each for name, each in services.items() if each.get("profiles", []) == wanted}


def with_defaults(value: object) -> str:
    return VARIABLE.sub(lambda match: match[2] or "", str(value))


def settings_of(service: Service) -> dict[str, str]:
    """As Preble finds them in its container."""
    found = service.get("environment", {}).items()
    ours = {name: with_defaults(value) for name, value in found if name.startswith("PREBLE_")}
    secrets = str(ROOT / SECRETS / "api")
    return {name: value.replace("/run/secrets", secrets) for name, value in ours.items()}


def pins(lock: str) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    text = (ROOT / "requirements" / lock).read_text()
    for name, version in re.findall(r"^([\w.-]+)==([^ ;]+)", text, re.MULTILINE):
        found.setdefault(name, set()).add(version)
    return found


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_what_a_bare_up_starts() -> None:
    pool = {"api", "scheduler-0", "scheduler-1", "worker-0", "worker-1"}
    assert set(in_profile(None)) == {"redis"} | pool


def test_ports_are_published_on_loopback_only() -> None:
    published = [
        port for service in compose()["services"].values() for port in service.get("ports", [])
    ]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_each_service_says_whether_it_is_well_and_waits_for_redis_to_be() -> None:
    for name, service in compose()["services"].items():
        assert "healthcheck" in service, name
        if settings_of(service):
            assert service["depends_on"]["redis"] == {"condition": "service_healthy"}, name


def test_nothing_of_ours_has_rights_or_takes_all_memory() -> None:
    for name, service in compose()["services"].items():
        if not name.startswith("sglang"):  # an image that runs as root, and needs a whole GPU
            assert service["read_only"], name
            assert service["cap_drop"] == ["ALL"], name
            assert service["security_opt"] == ["no-new-privileges:true"], name
            assert service["mem_limit"], name
            assert service["pids_limit"], name
    assert re.findall(r"^USER (\w+)$", DOCKERFILE, re.MULTILINE)[-1] == "preble"


def test_each_service_sees_the_secrets_that_it_needs_and_no_others() -> None:
    seen: dict[str, set[str]] = {}
    for name, service in compose()["services"].items():
        for volume in map(with_defaults, service.get("volumes", [])):
            if volume.startswith(SECRETS):
                assert volume.endswith(":ro")
                seen.setdefault(volume.removeprefix(SECRETS).split(":")[0], set()).add(name)
    on_gpus = {*in_profile("gpu")}
    assert seen == {
        "/api": {"api", "api-gpu", "api-emulated"},
        "/api/api_key": {"prometheus"},
        "/hub": on_gpus,
    }


def test_no_secret_is_in_the_environment() -> None:
    for name, service in compose()["services"].items():
        for variable in service.get("environment", {}):
            assert not re.search(r"(KEY|SECRET|TOKEN|PASSWORD)$", variable), f"{name}: {variable}"


def test_images_from_elsewhere_are_pinned() -> None:
    for name, service in compose()["services"].items():
        image = with_defaults(service["image"])
        assert "build" in service or re.search(r":v?\d", image), name
    (base,) = re.findall(r"^ARG PYTHON_IMAGE=(.+)$", DOCKERFILE, re.MULTILINE)
    assert re.search(r":\d+\.\d+-", base)
    assert with_defaults(compose()["x-build"]["args"]["PYTHON_IMAGE"]) == base


def test_each_target_is_a_stage_of_the_dockerfile() -> None:
    stages = re.findall(r"^FROM \S+ AS (\S+)$", DOCKERFILE, re.MULTILINE)
    targets = {
        service["build"]["target"]
        for service in compose()["services"].values()
        if "build" in service
    }
    assert targets <= set(stages)


def test_the_engine_s_stage_has_what_installs_engines(tmp_path: Path) -> None:
    """Its layers are made of a few files only, so that other changes leave them alone."""
    [stage] = re.findall(
        r"^FROM runtime AS engine$(.*?)^FROM", DOCKERFILE, re.MULTILINE | re.DOTALL
    )
    for line in re.findall(r"^COPY (preble/.*)$", stage, re.MULTILINE):
        *sources, target = line.split()
        for source in sources:
            place = tmp_path / target
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, place)
            else:
                place.mkdir(exist_ok=True)
                shutil.copy(ROOT / source, place)
    command = [sys.executable, "-c", "import preble.engine_env as e; print(e.__file__)"]
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    said = subprocess.run(command, cwd=tmp_path, env=environ, check=True, capture_output=True)
    assert said.stdout.decode().startswith(str(tmp_path))


@pytest.mark.parametrize(("profile", "num_workers"), [(None, 2), ("gpu", 2), ("emulated", 2)])
def test_a_pool_has_settings_that_preble_knows_and_all_its_processes_agree_on(
    profile: str | None, num_workers: int
) -> None:
    own = {
        "PREBLE_INSTANCE", "PREBLE_ENGINE_URL", "PREBLE_HOST", "PREBLE_API_KEY_FILE",
        "PREBLE_FILES_DIR", "PREBLE_WEBHOOK_SECRET_FILE", "PREBLE_WEBHOOK_ALLOW",
    }  # fmt: skip
    services = [each for each in in_profile(profile).values() if settings_of(each)]
    given = [settings_of(each) for each in services]
    for each in given:
        load_settings(each)
    assert len({frozenset((each.items()) - {(k, each.get(k)) for k in own}) for each in given}) == 1
    instances = [each["PREBLE_INSTANCE"] for each in given if "PREBLE_INSTANCE" in each]
    assert len(set(instances)) == len(instances) == num_workers


def test_what_watches_runs_without_rights_and_writes_to_its_volume_alone() -> None:
    watching = in_profile("observability")
    assert set(watching) == {"prometheus", "grafana"}
    for service in watching.values():
        assert service["user"] not in {"root", "0"}
        folders = [with_defaults(each) for each in service["volumes"]]
        assert [each for each in folders if each.startswith("./deploy")]
        assert all(each.endswith(":ro") for each in folders if each.startswith("./"))


def test_all_processes_of_a_pool_are_scraped() -> None:
    scraped = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    targets = {
        (name, lookup["port"])
        for job in scraped["scrape_configs"]
        for lookup in job["dns_sd_configs"]
        for name in lookup["names"]
    }
    services = {**in_profile(None), **in_profile("gpu"), **in_profile("emulated")}
    wanted = {
        (name, 8000 if name.startswith("api") else 9100)
        for name, service in services.items()
        if settings_of(service)
    }
    assert targets == wanted
    for name, service in services.items():
        if settings := settings_of(service):
            given = load_settings(settings)
            assert (given.metrics_host, given.metrics_port) == ("0.0.0.0", 9100), name  # noqa: S104  # in a container


def test_redis_loses_nothing() -> None:
    command = compose()["services"]["redis"]["command"]
    assert "--appendonly yes" in command
    assert "--maxmemory-policy noeviction" in command
    assert re.search(r"--maxmemory \$", command)  # so that it refuses before it is killed


def test_the_example_environment_names_each_variable_and_its_default() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    used = dict(VARIABLE.findall(text))
    arguments = [name for name, value in compose()["x-build"]["args"].items() if value is None]
    example = (ROOT / ".env.example").read_text()
    named = dict(re.findall(r"^#(\w+)=(.*)$", example, re.MULTILINE))
    assert named == used | dict.fromkeys(arguments, "")


def test_the_images_packages_are_those_that_were_tested() -> None:
    runtime, tested = pins("runtime.lock"), pins("dev.lock")
    assert {name: tested.get(name) for name in runtime} == runtime
    wanted = re.findall(r"^[\w-]+", "\n".join(project()["project"]["dependencies"]), re.MULTILINE)
    assert set(wanted) <= runtime.keys()


def test_the_images_can_send_traces() -> None:
    """Else `PREBLE_TRACING=otlp` would be refused in a container, where nobody can install it."""
    extra = project()["project"]["optional-dependencies"]["otel"]
    wanted = re.findall(r"^[\w-]+", "\n".join(extra), re.MULTILINE)
    assert set(wanted) <= pins("runtime.lock").keys()


def test_the_images_wheel_is_built_with_what_the_project_asks_for() -> None:
    (backend,) = project()["build-system"]["requires"]
    name, _, version = backend.partition("==")
    assert pins("build.lock")[name] == {version}
