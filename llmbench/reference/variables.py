"""Every environment variable that is read, with what it does; a test holds the list against the code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

VARIABLES: Final[Mapping[str, str]] = {
    "LLM_CHANNEL": "Channel of calls that name none.",
    "LLM_ENV": "Environment of calls that name none, such as `prod`.",
    "LLM_MODEL_SLOT": "Slot of `llm_model_slots.yaml`.",
    "LLM_FORCE_MODELS": "Models for every text task, by commas; a bare number is a slot.",
    "LLM_FORCE_TASK_MODELS_JSON": 'Models for single tasks: `{"caption": ["model_key"]}`.',
    "LLM_ALLOW_FALLBACK": "`1`: models that were chosen by hand may fall back, too.",
    "LLM_ROUTING_KEY": "Routing key of calls that name none: the user or job that a budget is kept for.",
    "LLM_ROUTER_LOG_PATH": "The telemetry log.",
    "LLM_ROUTER_LOG_DISABLE": "`1`: no telemetry is written.",
    "LLM_ROUTER_LOG_CONTENT": "`1`: prompts and replies stand in the log; `0`: not. Wins over `log_content`.",
    "IMAGE_CLIENT_PROFILE": "Profile of `image_models.yaml`.",
    "IMAGE_CLIENT_FORCE_MODEL_KEY": "Model for every task of pictures.",
    "IMAGE_CLIENT_FORCE_MODEL_KEY_<TASK>": "Model for one of them, its name in capitals.",
    "SPEECH_CLIENT_PROFILE": "Profile of `speech_models.yaml`.",
    "SPEECH_CLIENT_FORCE_MODEL_KEY": "Model for every task of speech.",
    "SPEECH_CLIENT_FORCE_MODEL_KEY_<TASK>": "Model for one of them, its name in capitals.",
    "AZURE_OPENAI_API_KEY": "Key of a provider of type azure that names no variable.",
    "AZURE_OPENAI_ENDPOINT": "Address of a provider of type azure that names no variable.",
    "OPENAI_API_KEY": "Key of a provider of type openai that names no variable.",
    "OPENROUTER_API_KEY": "Key of a provider of type openrouter that names no variable.",
    "GEMINI_API_KEY": "Key of a provider of type gemini that names no variable.",
    "SCRIPT_PIPELINE_DEFAULT_MODEL": "`llmbench migrate`: model of stages that name none.",
    "LLMBENCH_SERVE_TOKEN": "`llmbench serve`: the token that clients must send.",
    "LLMBENCH_CACHE": "Folder of downloaded local models; `~/.cache/llmbench` by default.",
    "OTEL_EXPORTER_OTLP_HEADERS": "`llmbench telemetry export`: headers for the receiver, such as a key.",
}
