"""What no config, query, name or template may reach: files, the network, a host without a proof."""

from __future__ import annotations

import ast
import csv
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2.sandbox import SecurityError
from typer.testing import CliRunner

from llmbench import LLMClient
from llmbench.analytics.render import render_report
from llmbench.analytics.templating import environment
from llmbench.analytics.warehouse import open_warehouse
from llmbench.cli import app
from llmbench.config.shapes import ProviderShape
from llmbench.display.spreadsheet import cell, csv_text, restored
from llmbench.errors import ConfigError, FallbackExhausted, RouteError, WarehouseError
from llmbench.providers import transport
from tests.conftest import CANARY
from tests.hostile_strings import STORABLE, by_kind
from tests.run_folders import write_run_folder
from tests.servers.loopback import LoopbackServer

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "llmbench").rglob("*.py"))
#: Statements made of parts: names of views are those of our own files, `find_views` checks them; the others
#: join constants and texts of our own files.
JOINED_SQL = {
    ("warehouse.py", "build_views"),
    ("warehouse.py", "_make_view"),
    ("telemetry_store.py", "_take_whole"),
    ("telemetry_lines.py", "judge_lines"),
    ("telemetry_lines.py", "_spell"),
    ("ingest.py", "_load_block"),
}


# ---- SQL


def executes() -> Iterator[tuple[str, str, ast.expr]]:
    """(file, function, statement) of every call of `execute` and its like in the product."""
    for path in SOURCES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for function in [
            node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        ]:
            for node in ast.walk(function):
                is_call = (
                    isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and bool(node.args)
                )
                if is_call and node.func.attr in ("execute", "executemany", "sql"):
                    yield path.name, function.name, node.args[0]


def is_made_of_parts(statement: ast.expr) -> bool:
    """Whether a statement is put together where it is run: f-string, `+`, `%`, `format`, `join`."""
    made = [
        node
        for node in ast.walk(statement)
        if isinstance(node, ast.JoinedStr)
        or (isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Mod))
    ]
    called = [
        node.func.attr
        for node in ast.walk(statement)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    ]
    return bool(made) or bool({"format", "join", "replace"} & set(called))


def test_no_value_is_put_into_a_statement():
    found = list(executes())
    assert len(found) > 40
    made = {(file, function) for file, function, statement in found if is_made_of_parts(statement)}
    assert made <= JOINED_SQL


def test_the_search_for_statements_made_of_parts_finds_them():
    for text in ("f'select {x}'", "'select ' + x", "'select %s' % x", "'{}'.format(x)", "' '.join(x)"):
        assert is_made_of_parts(ast.parse(text, mode="eval").body)


@pytest.mark.parametrize(
    "sql",
    [
        "select * from read_csv('/etc/passwd')",
        "select * from read_blob('/proc/self/environ')",
        "select * from sniff_csv('/etc/passwd')",
        "select * from parquet_metadata('x.parquet')",
        "select * from read_json_auto('https://example.com/x')",
        "select * from glob('/*')",
        "select getenv('HOME')",
        "select * from duckdb_secrets()",
        "create secret x (type s3)",
        "copy (select 1) to '/dev/stdout'",
        "attach '/etc/passwd' as x",
        "install httpfs",
        "load httpfs",
        "set enable_external_access=true",
        "set lock_configuration=false",
        "set allowed_directories=['/']",
        "pragma enable_external_access=true",
        "export database 'x'",
        "import database 'x'",
        "call load_aws_credentials()",
        "explain analyze copy (select 1) to 'x.csv'",
        "select * from '/etc/passwd'",
        'select * from "x.csv"',
        "describe select * from read_text('/etc/hostname')",
        "checkpoint",
        "use memory",
        "detach memory",
    ],
)
def test_a_query_reaches_no_file_no_network_and_no_setting(sql, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with open_warehouse() as warehouse:
        try:
            rows = warehouse.rows(sql)
        except WarehouseError:
            rows = []
    assert rows == [] or "secrets" in sql
    assert list(tmp_path.iterdir()) == []


# ---- spreadsheets


@given(st.one_of(st.sampled_from(STORABLE), st.text(max_size=20)))
@settings(max_examples=300)
def test_no_cell_begins_a_formula_and_every_text_comes_back(text):
    made = cell(text)
    assert not str(made).lstrip().startswith(("=", "+", "-", "@", "＝", "＋", "－", "＠", "\t", "\r"))
    assert not str(made).startswith(("\t", "\r", "\n")) or not text.strip()
    assert restored(str(made)) == text


def test_numbers_stay_numbers_and_rows_stay_rows():
    rows = [(-1.5, -3, True, None, text) for text in by_kind("sheet", "data", "control")]
    read = list(csv.reader(io.StringIO(csv_text(["a", "b", "c", "d", "=e"], rows), newline="")))
    assert read[0] == ["a", "b", "c", "d", "'=e"]
    assert len(read) == len(rows) + 1
    assert all(row[:4] == ["-1.5", "-3", "True", ""] for row in read[1:])


def test_a_query_as_csv_is_one_for_a_spreadsheet(tmp_path):
    (tmp_path / "reports").mkdir()
    sql = "select '=1+1' as a, -5 as b, null::double as c, '＝x' as d"
    ran = CliRunner().invoke(app, ["query", sql, "--csv", "--project", str(tmp_path)])
    assert ran.output == '"a","b","c","d"\n"\'=1+1",-5,"","\'＝x"\n'


def test_csv_is_written_in_one_place_and_nothing_is_unpickled_or_run():
    wrong = {
        "csv.writer": "spreadsheet.py",
        "DictWriter": "",
        "to_csv": "",
        "pickle.load": "",
        "marshal": "",
        "shell=True": "",
        "os.system": "",
        "yaml.load(": "",
        "yaml.unsafe_load": "",
        "FullLoader": "",
        "verify=False": "",
        "CERT_NONE": "",
        "check_hostname = False": "",
        "_create_unverified_context": "",
        "extractall": "",
    }
    for path in SOURCES:
        text = path.read_text(encoding="utf-8")
        for word, allowed in wrong.items():
            assert word not in text or path.name == allowed, f"{path.name} uses {word}"


# ---- templates


def test_templates_are_files_of_the_package_that_escape_and_no_text_becomes_one():
    for path in SOURCES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
        called = {each.id if isinstance(each, ast.Name) else getattr(each, "attr", "") for each in names}
        assert "from_string" not in called, path
        assert "Template" not in called, path


@pytest.mark.parametrize("form", ["html", "markdown", "pull request"])
@pytest.mark.parametrize(
    "text",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ say.__globals__ }}",
        "{{ say.__init__.__globals__ }}",
        "{{ [].append(1) }}",
        "{{ '{0.__class__}'.format('') }}",
        "{% for x in range(10**9) %}{% endfor %}",
    ],
)
def test_a_template_cannot_reach_into_a_value_or_change_one(form, text):
    with pytest.raises((SecurityError, OverflowError)):
        environment(form).from_string(text).render()


def test_a_prompt_that_is_a_template_is_sent_as_it_is(open_client, server):
    texts = by_kind("format")
    client = open_client()
    for text in texts:
        client.call("caption", text, models=["a"])
    sent = [request.json["messages"][-1]["content"] for request in server.received]
    assert sent == list(texts)


def test_a_run_folder_cannot_bring_a_template(tmp_path):
    folder = write_run_folder(tmp_path, samples=4, plant=list(by_kind("format")))
    page = render_report(folder.run_dir).read_text(encoding="utf-8")
    assert "{{7*7}}" in page
    assert "uid=" not in page


# ---- TLS


def test_no_key_of_a_config_and_no_variable_turns_the_proof_of_a_host_off():
    words = re.compile(r"verify|insecure|ssl|tls|cert", re.IGNORECASE)
    assert [name for name in ProviderShape.model_fields if words.search(name)] == []
    for name in ("verify", "ssl_verify", "insecure", "tls_verify"):
        assert name not in ProviderShape.model_fields
    variables = {
        name
        for path in SOURCES
        for name in re.findall(r'"((?:LLM|LLMBENCH)_[A-Z_]+)"', path.read_text("utf-8"))
    }
    assert [name for name in variables if words.search(name)] == []


@pytest.mark.parametrize(
    "variable", ["SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "PYTHONHTTPSVERIFY", "CURL_CA_BUNDLE"]
)
def test_a_host_with_its_own_certificate_is_refused_whatever_the_environment_says(
    variable, tmp_path, monkeypatch
):
    certificates = pytest.importorskip("tests.servers.certificates")
    authority = certificates.Authority.create(tmp_path)
    monkeypatch.setenv(variable, "0" if "VERIFY" in variable else str(authority.path))
    transport.trusted_authorities.cache_clear()

    class Silent(LoopbackServer):
        async def _one(self, reader, _):
            await reader.read(1)
            return False

    try:
        with Silent(authority.context()) as server:
            configs = tmp_path / "configs"
            configs.mkdir()
            provider = {"base_url": f"https://localhost:{server.port}/v1", "env_api_key": "STUB_KEY"}
            (configs / "llm_router.yaml").write_text(
                json.dumps(
                    {
                        "providers": {"stub": provider},
                        "models": {"a": {"provider": "stub", "model_name": "m"}},
                        "tiers": {"standard": ["a"]},
                    }
                )
            )
            with (
                LLMClient(configs, variables={"STUB_KEY": CANARY}, log_path=None) as client,
                pytest.raises(FallbackExhausted) as caught,
            ):
                client.call("caption", "x", timeout=5)
        assert "connect" in str(caught.value.exceptions[-1].kind)
    finally:
        transport.trusted_authorities.cache_clear()


@pytest.mark.parametrize(
    "url",
    [
        "http://provider.example/v1",
        "http://10.0.0.1/v1",
        "http://localhost.example/v1",
        "ftp://127.0.0.1/v1",
        "http://127.0.0.1.example/v1",
        "http://user:pw@provider.example/v1",
    ],
)
def test_a_key_goes_over_plain_http_to_this_machine_alone(url, tmp_path):
    (tmp_path / "llm_router.yaml").write_text(
        json.dumps(
            {
                "providers": {"p": {"base_url": url, "env_api_key": "STUB_KEY"}},
                "models": {"a": {"provider": "p", "model_name": "m"}},
                "tiers": {"standard": ["a"]},
            }
        )
    )
    with (
        pytest.raises((ConfigError, FallbackExhausted, RouteError)),
        LLMClient(tmp_path, variables={"STUB_KEY": CANARY}, log_path=None) as client,
    ):
        client.call("caption", "x", timeout=2)
