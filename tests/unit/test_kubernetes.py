"""deploy/kubernetes: what the manifests must not lose; no cluster is asked."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import kubernetes_validate  # type: ignore[import-untyped]  # it has none
import yaml  # type: ignore[import-untyped]  # its types are a package of their own
from fastapi.routing import APIRoute

from preble import __version__
from preble.broker.memory import MemoryBroker
from preble.broker.memory_api_keys import MemoryApiKeys
from preble.config import Settings, load_settings
from preble.config.sources import SECRETS
from preble.tokenizer import load_tokenizer
from preble_api.app import create_app

FOLDER: Final = Path(__file__).parents[2] / "deploy" / "kubernetes"
ENGINE: Final = "engine"
"""The container that is not ours: root, and a file system that it writes."""
SCHEMAS_OF: Final = "1.32"

Manifest = Mapping[str, Any]


def kustomization() -> Manifest:
    found: Manifest = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
    return found


def manifests() -> list[Manifest]:
    """Of the kustomization."""
    texts = ((FOLDER / name).read_text() for name in kustomization()["resources"])
    return [each for text in texts for each in yaml.safe_load_all(text)]


def secrets() -> list[Manifest]:
    """The example's."""
    return list(yaml.safe_load_all((FOLDER / "secrets.example.yaml").read_text()))


def of_kind(*kinds: str) -> list[Manifest]:
    return [each for each in manifests() if each["kind"] in kinds]


def named(kind: str) -> set[str]:
    return {each["metadata"]["name"] for each in of_kind(kind)}


def workloads() -> list[Manifest]:
    return of_kind("Deployment", "StatefulSet")


def pods() -> list[Manifest]:
    return [each["spec"]["template"]["spec"] for each in workloads()]


def containers() -> Iterator[Manifest]:
    return (container for pod in pods() for container in pod["containers"])


def ours() -> list[Manifest]:
    return [each for each in containers() if each["name"] != ENGINE]


def test_every_file_is_part_of_it() -> None:
    files = {path.name for path in FOLDER.glob("*.yaml")}
    assert files == {*kustomization()["resources"], "kustomization.yaml", "secrets.example.yaml"}


def test_nothing_names_a_namespace() -> None:
    assert [each for each in (*manifests(), *secrets()) if "namespace" in each["metadata"]] == []


def test_selectors_find_pods() -> None:
    labels = [each["spec"]["template"]["metadata"]["labels"] for each in workloads()]
    for each in (*workloads(), *of_kind("PodDisruptionBudget")):
        assert each["spec"]["selector"]["matchLabels"] in labels
    assert all(each["spec"]["selector"] in labels for each in of_kind("Service"))


def test_each_workload_survives_the_drain_of_a_node() -> None:
    budgets = {
        str(each["spec"]["selector"]): each["spec"] for each in of_kind("PodDisruptionBudget")
    }
    for each in workloads():
        assert budgets[str(each["spec"]["selector"])]["maxUnavailable"] == 1


def test_who_is_scaled_is_there_and_has_no_number_of_its_own() -> None:
    scalers = of_kind("ScaledObject", "HorizontalPodAutoscaler")
    scaled = [each["spec"]["scaleTargetRef"] for each in scalers]
    by_name = {(each["kind"], each["metadata"]["name"]): each for each in workloads()}
    assert len(scaled) == 2
    for target in scaled:
        assert "replicas" not in by_name[target["kind"], target["name"]]["spec"]


def test_workers_are_scaled_by_a_metric_that_the_api_has() -> None:
    metrics = (FOLDER.parents[1] / "docs" / "reference" / "metrics.md").read_text()
    [scaled] = of_kind("ScaledObject")
    [trigger] = scaled["spec"]["triggers"]
    [name] = re.findall(r"preble_\w+", trigger["metadata"]["query"])
    assert f"| `{name}` |" in metrics


def test_ports_are_those_of_containers() -> None:
    ports = {port["name"] for each in containers() for port in each.get("ports", [])}
    for service in of_kind("Service"):
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports
    for each in ours():
        own = {port["name"]: port["containerPort"] for port in each["ports"]}
        said = {entry["name"]: entry.get("value") for entry in each["env"]}
        assert list(own.values()) == [int(said.get("PREBLE_PORT") or said["PREBLE_METRICS_PORT"])]
        for probe in ("startupProbe", "livenessProbe"):
            assert each[probe]["httpGet"]["port"] in own


def test_probes_ask_for_paths_that_are_served() -> None:
    app = create_app(
        Settings(), MemoryBroker(), load_tokenizer("embedded"), api_keys=MemoryApiKeys()
    )
    served = {route.path for route in app.routes if isinstance(route, APIRoute)}
    asked = [
        each[probe]["httpGet"]["path"]
        for each in ours()
        for probe in ("startupProbe", "livenessProbe", "readinessProbe")
        if probe in each
    ]
    assert len(asked) == 7
    assert set(asked) <= served


def test_every_variable_is_a_setting_and_its_value_one_that_it_takes() -> None:
    [pool] = of_kind("ConfigMap")
    files = {f"{name}_file" for name in SECRETS}
    for container in ours():
        said = {entry["name"]: entry.get("value", "gpu-0") for entry in container["env"]}
        names = {name.removeprefix("PREBLE_").lower() for name in (*pool["data"], *said)}
        assert names <= {*Settings.__struct_fields__, *files}
        plain = {
            name: value
            for name, value in (pool["data"] | said).items()
            if not name.endswith("_FILE")
        }
        load_settings({**plain, "PREBLE_CONFIG": ""})


def test_each_role_has_its_own_secret_with_the_url_of_its_redis() -> None:
    example = {each["metadata"]["name"]: each["stringData"] for each in secrets()}
    used: list[str] = []
    for pod in pods():
        [secret] = [each["secret"]["secretName"] for each in pod["volumes"] if "secret" in each]
        used.append(secret)
        container = pod["containers"][0]
        [folder] = [m["mountPath"] for m in container["volumeMounts"] if m["name"] == "secrets"]
        path = {e["name"]: e.get("value") for e in container["env"]}["PREBLE_REDIS_URL_FILE"]
        assert Path(str(path)).parent == Path(folder)
        assert Path(str(path)).name in example[secret]
        assert f"-{container['name']}:" in example[secret]["redis_url"]
        assert all(not str(e.get("value", "")).startswith("redis") for e in container["env"])
    assert sorted(used) == sorted(example)


def test_mounts_are_of_volumes_and_volumes_of_what_is_there() -> None:
    for pod in pods():
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        mounted = {mount["name"] for each in pod["containers"] for mount in each["volumeMounts"]}
        assert mounted == set(volumes)
        claims = [v["persistentVolumeClaim"]["claimName"] for v in volumes.values()
                  if "persistentVolumeClaim" in v]  # fmt: skip
        assert set(claims) <= named("PersistentVolumeClaim")
    refs = {ref["configMapRef"]["name"] for each in containers() for ref in each["envFrom"]}
    assert refs <= named("ConfigMap")


def test_ours_run_confined() -> None:
    for pod in pods():
        assert pod["enableServiceLinks"] is False
        assert pod["automountServiceAccountToken"] is False
        for each in pod["containers"]:
            own = {**pod["securityContext"], **each["securityContext"]}
            assert own["allowPrivilegeEscalation"] is False
            assert own["capabilities"] == {"drop": ["ALL"]}
            assert own["seccompProfile"] == {"type": "RuntimeDefault"}
            assert {"requests", "limits"} <= set(each["resources"])
            if each["name"] != ENGINE:
                assert own["runAsNonRoot"] is True
                assert own["readOnlyRootFilesystem"] is True


def test_a_pod_has_time_to_end_its_work() -> None:
    by_name = {each["metadata"]["name"]: each for each in workloads()}
    grace = by_name["preble-worker"]["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    assert grace >= 20  # as in docker-compose.yml


def test_images_are_pinned_and_ours_is_this_version() -> None:
    compose = (FOLDER.parents[1] / "docker-compose.yml").read_text()
    for each in containers():
        name, _, tag = each["image"].partition(":")
        assert tag == __version__ if name == "preble" else f"{name}:{tag}" in compose


def test_kubernetes_takes_them() -> None:
    for each in (*manifests(), *secrets()):
        if each["kind"] != "ScaledObject":  # KEDA's own
            kubernetes_validate.validate(dict(each), SCHEMAS_OF, strict=True)
