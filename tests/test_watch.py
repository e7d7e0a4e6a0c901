"""Reloading: readers only ever see a whole and valid set of config files."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from llmbench.config import load_config
from llmbench.config.watch import ConfigWatch, signature
from llmbench.errors import ConfigError

ROUTER = 'providers:\n  stub: {{base_url: "http://127.0.0.1:1/v1", headers: {{X-Version: "{0}"}}}}\n'
REGISTRY = """\
models:
  small: {{provider: stub, model_name: m-{0}}}
  large: {{provider: stub, model_name: m-{0}}}
"""


def write(folder: Path, version: int) -> None:
    (folder / "llm_router.yaml").write_text(ROUTER.format(version))
    (folder / "llm_model_registry.yaml").write_text(REGISTRY.format(version))


@pytest.fixture
def folder(tmp_path):
    write(tmp_path, 0)
    return tmp_path


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def watch(folder, clock):
    return ConfigWatch(folder, clock=clock)


def after(watch, clock, seconds=2.0):
    """What the watch hands out within some seconds of looks."""
    configs = []
    for _ in range(int(seconds * 10)):
        clock.wait(0.1)
        configs += [config for config in [watch.changed()] if config is not None]
    return configs


def ids(config):
    return {spec.model_id for spec in config.models.values()}


def test_a_change_is_handed_out_once_when_it_has_settled(watch, folder, clock):
    assert after(watch, clock) == []
    write(folder, 1)
    (config,) = after(watch, clock)
    assert ids(config) == {"m-1"}
    assert config.hash == load_config(folder).hash
    assert after(watch, clock) == []


def test_nothing_is_read_before_the_files_have_settled(watch, folder, clock):
    clock.wait(1.0)
    for size in range(1, 20):  # a change every 0.4 s
        (folder / "llm_router.yaml").write_text(ROUTER.format(0) + "# " + "x" * size + "\n")
        assert watch.changed() is None
        clock.wait(0.4)
    write(folder, 2)
    assert [ids(config) for config in after(watch, clock)] == [{"m-2"}]


def test_an_added_and_a_removed_overlay_are_changes(watch, folder, clock):
    overlay = folder / "llm_model_registry.local.yaml"
    overlay.write_text("models: {small: {model_name: mine}}\n")
    assert [ids(config) for config in after(watch, clock)] == [{"mine", "m-0"}]
    overlay.unlink()
    assert [ids(config) for config in after(watch, clock)] == [{"m-0"}]


def test_a_file_that_was_replaced_by_one_of_the_same_size_and_time_is_a_change(watch, folder, clock):
    path = folder / "llm_model_registry.yaml"
    facts = path.stat()
    beside = folder / "beside"
    beside.write_text(REGISTRY.format(7))
    os.utime(beside, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    beside.rename(path)
    assert [ids(config) for config in after(watch, clock)] == [{"m-7"}]


def test_a_touched_or_commented_file_says_nothing_new(watch, folder, clock):
    config = load_config(folder)
    second = ConfigWatch(folder, config, clock=clock)
    (folder / "llm_router.yaml").write_text("# a remark\n" + ROUTER.format(0))
    assert after(second, clock) == []


def test_a_change_between_loading_and_watching_is_seen(folder, clock):
    config = load_config(folder)
    write(folder, 3)
    assert [ids(new) for new in after(ConfigWatch(folder, config, clock=clock), clock)] == [{"m-3"}]


def test_broken_files_keep_the_old_and_are_warned_of_once_with_file_and_line(watch, folder, clock):
    path = folder / "llm_model_registry.yaml"
    path.write_text("models:\n  small: {provider: stubb}\n")
    with pytest.warns(
        RuntimeWarning, match=r"earlier ones stay: llm_model_registry.yaml:2: .*'stub'"
    ) as told:
        assert after(watch, clock, 5) == []
    assert len(told) == 1
    path.write_text("models: [")
    with pytest.warns(RuntimeWarning, match=r"llm_model_registry.yaml:2: not valid YAML"):
        assert after(watch, clock) == []
    path.write_text(REGISTRY.format(4))
    assert [ids(config) for config in after(watch, clock)] == [{"m-4"}]


def test_a_removed_folder_keeps_the_old(watch, folder, clock):
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    with pytest.warns(RuntimeWarning, match="no config folder"):
        assert after(watch, clock) == []


def test_a_config_that_its_user_refuses_is_not_taken_up(folder, clock):
    def refuse(config):
        if ids(config) == {"m-1"}:
            raise ConfigError("no such host", path="llm_router.yaml")

    watch = ConfigWatch(folder, accept=refuse, clock=clock)
    write(folder, 1)
    with pytest.warns(RuntimeWarning, match="no such host"):
        assert after(watch, clock) == []
    write(folder, 2)
    assert [ids(config) for config in after(watch, clock)] == [{"m-2"}]


def test_a_warning_that_is_an_error_does_not_fail_a_call(watch, folder, clock):
    (folder / "llm_router.yaml").write_text("providers: [")
    assert after(watch, clock) == []  # the suite turns warnings into errors


def test_a_set_that_changes_while_it_is_read_is_not_handed_out(folder, clock):
    def write_on(config):
        if ids(config) == {"m-1"}:
            write(folder, 22)

    watch = ConfigWatch(folder, accept=write_on, clock=clock)
    write(folder, 1)
    assert [ids(config) for config in after(watch, clock, 5)] == [{"m-22"}]


def test_the_files_are_looked_at_once_in_the_interval(folder, clock, monkeypatch):
    looks = []

    def counted(path):
        looks.append(clock.now)
        return signature(path)

    monkeypatch.setattr("llmbench.config.watch.signature", counted)
    watch = ConfigWatch(folder, every_s=5.0, clock=clock)
    looks.clear()
    for _ in range(1000):
        clock.wait(0.01)
        watch.changed()
    assert len(looks) == 2


SLOW_WRITER = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from tests.test_watch import REGISTRY, ROUTER
folder = Path(sys.argv[1])
version, longest_gap, end = 0, 0.0, time.monotonic() + float(sys.argv[3])
while time.monotonic() < end:
    version += 1
    last = time.monotonic()
    for name, text in (("llm_model_registry", REGISTRY), ("llm_router", ROUTER)):
        with open(folder / f"{name}.yaml", "w") as file:  # cut off first, then written in pieces
            for line in text.format(version).splitlines(keepends=True):
                for start in range(0, len(line), 25):
                    file.write(line[start : start + 25])
                    file.flush()
                    longest_gap, last = max(longest_gap, time.monotonic() - last), time.monotonic()
                    time.sleep(0.01)
    time.sleep(0.7)
print(version, longest_gap)
"""


def test_readers_see_only_whole_versions_while_another_process_rewrites_the_files(folder):
    """The writer cuts a file off and writes it in pieces, so that most moments show an invalid set."""
    watch = ConfigWatch(folder, every_s=0.02, settle_s=0.3)
    seen, wrong, stop = [], [], threading.Event()

    def read() -> None:
        while not stop.is_set():
            config = watch.changed()
            if config is not None:
                versions = {name.removeprefix("m-") for name in ids(config)}
                versions |= {config.endpoints["stub"].headers["X-Version"]}
                (seen if len(versions) == 1 and len(config.models) == 2 else wrong).append(versions)
            time.sleep(0.001)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    root = str(Path(__file__).parents[1])
    command = [sys.executable, "-c", SLOW_WRITER, str(folder), root, "5"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    time.sleep(1.0)
    stop.set()
    for thread in threads:
        thread.join()
    assert ran.returncode == 0, ran.stderr
    version, longest_gap = ran.stdout.split()
    if float(longest_gap) > 0.2:
        pytest.skip(f"the writer stood still for {longest_gap} s: a machine too busy to tell")
    assert wrong == []
    assert len(seen) >= 3
    assert seen[-1] == {version}
    assert len(seen) == len({next(iter(versions)) for versions in seen})  # each version once
