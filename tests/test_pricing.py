"""What a reply cost: whose price holds, which tokens it counts, on which date, and when it is not known."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from genai_prices import Usage as ListUsage
from genai_prices import calc_price
from genai_prices.data_snapshot import get_snapshot
from hypothesis import given
from hypothesis import strategies as st

from llmbench.catalog import Capabilities, Endpoint, Modality, ModelSpec, Price
from llmbench.messages import Usage
from llmbench.pricing import Made, begin_loading, cost_of, uses_list, worst_case_usd

TODAY = datetime(2026, 11, 22, 12, tzinfo=UTC)
HOSTS = {
    kind: Endpoint(kind, kind) for kind in ("azure", "openai", "openrouter", "gemini", "openai_compatible")
}
USAGE = Usage(1000, 500, 200, 0)


def model(model_id: str, **settings) -> ModelSpec:
    return ModelSpec("m", "p", model_id, **settings)


def deployed(family: str) -> ModelSpec:
    return model("our-deployment", family=family)


def listed(kind: str, spec: ModelSpec, usage: Usage = USAGE, at: datetime = TODAY) -> float:
    cost, source = cost_of(spec, HOSTS[kind], usage, at=at)
    assert source == "genai-prices", source
    assert cost is not None
    return cost


# ---- whose price


def test_the_order_is_provider_then_registry_then_list():
    spec = deployed("gpt-5-mini")
    priced = model("d", family="gpt-5-mini", price=Price(input=1.0, output=4.0))
    assert cost_of(priced, HOSTS["azure"], USAGE, reported_usd=0.7) == (0.7, "provider")
    assert cost_of(priced, HOSTS["azure"], USAGE) == (pytest.approx(0.003), "registry")
    assert cost_of(spec, HOSTS["azure"], USAGE, at=TODAY) == (pytest.approx(0.001205), "genai-prices")


def test_a_provider_that_reports_no_cost_is_believed_and_one_that_reports_nonsense_is_not():
    assert cost_of(model("x/y:free"), HOSTS["openrouter"], USAGE, reported_usd=0.0) == (0.0, "provider")
    for nonsense in (float("nan"), float("inf"), -1.0):
        assert cost_of(model("x/y"), HOSTS["openrouter"], USAGE, reported_usd=nonsense)[0] is None


def test_cached_and_reasoning_tokens_have_their_own_price_in_the_registry():
    priced = model("i", price=Price(input=1.0, cached_input=0.5, output=4.0, reasoning=10.0))
    usage = Usage(1000, 500, 200, 100)
    assert cost_of(priced, HOSTS["openai"], usage) == (pytest.approx(0.0035), "registry")


def test_a_local_model_costs_its_processor_time():
    local = model("i", price=Price(per_core_hour=3.6))
    here = HOSTS["openai_compatible"]
    assert cost_of(local, here, Usage(1, 1), cpu_s=2.0) == (pytest.approx(0.002), "registry:per_core_hour")
    assert cost_of(local, here, Usage(1, 1)) == (None, "unknown: no CPU time was measured for m")


UNKNOWN = [
    ("openrouter", model("deepseek/deepseek-v3.2-exp:free"), USAGE, "openrouter's list lacks"),
    ("openrouter", model("deepseek/deepseek-chat:free"), USAGE, "no price per input and output token"),
    ("gemini", model("gemma-3"), USAGE, "no price per input and output token"),
    ("openai", model("text-embedding-3-small"), USAGE, "no price per input and output token"),
    ("openai", model("no-such-model"), USAGE, "openai's list lacks no-such-model"),
    ("azure", model("gpt-5-mini"), USAGE, "name its model as family"),
    ("azure", deployed("our-own"), USAGE, "azure's list lacks our-own"),
    ("openai_compatible", model("gpt-5-mini"), USAGE, "no list for openai_compatible"),
    ("openai", model("gpt-5-mini"), Usage(), "counts no tokens"),
    ("openai", model("gpt-5-mini"), Usage(10, 1, 11, 0), "counts 11 cached in 10 input tokens"),
    ("openai", model("gpt-5-mini"), Usage(10, 1, 0, 2), "counts 2 reasoning in 1 output tokens"),
    ("openai", model("i", price=Price(1.0, None, 2.0)), Usage(10, 1, 11, 0), "counts 11 cached in 10 input"),
    ("openai", model("i", price=Price(input=1.0)), USAGE, "lacks input or output"),
    ("openai", model("i", price=Price(per_image=0.04)), USAGE, "lacks input or output"),
]


@pytest.mark.parametrize(("kind", "spec", "usage", "said"), UNKNOWN)
def test_an_unknown_cost_is_none_with_the_reason_and_never_zero(kind, spec, usage, said):
    cost, source = cost_of(spec, HOSTS[kind], usage, at=TODAY)
    assert cost is None
    assert source.startswith("unknown: ")
    assert said in source


def media(mode: Modality, **price: float) -> ModelSpec:
    return replace(model("i", price=Price(**price)), capabilities=Capabilities(mode=mode))


@pytest.mark.parametrize(
    ("spec", "made", "cost"),
    [
        (media("image", per_image=0.04), Made(images=3), (0.12, "registry:per_image")),
        (media("image", per_image=0.04), Made(), (0.0, "registry:per_image")),
        (media("image", per_image=0.04, input=1, output=2), Made(), (0.0015, "registry")),
        (media("speech", per_minute=0.6), Made(audio_s=30, characters=9), (0.3, "registry:per_minute")),
        (media("speech", per_minute=0.6), Made(), (0.0, "registry:per_minute")),
        (media("speech", per_million_chars=15), Made(characters=100), (0.0015, "registry:per_million_chars")),
    ],
)
def test_a_price_by_the_unit_is_for_what_was_made_and_nothing_made_is_nothing_billed(spec, made, cost):
    usd, source = cost_of(spec, HOSTS["openai"], Usage(500, 500), made=made)
    assert (usd, source) == (pytest.approx(cost[0]), cost[1])


@pytest.mark.parametrize(
    ("spec", "made", "said"),
    [
        (
            media("image", per_image=0.04),
            None,
            "nobody knows how much of its per_image price m bills for this",
        ),
        (media("speech", per_minute=0.6), None, "nobody knows how much of its per_minute price"),
        (media("image", per_minute=0.6), Made(images=1), "lacks input or output"),
        (media("speech", per_image=0.04), Made(audio_s=3.0), "lacks input or output"),
    ],
)
def test_an_answer_that_its_unit_says_nothing_of_has_an_unknown_cost(spec, made, said):
    usd, source = cost_of(spec, HOSTS["openai"], USAGE, made=made)
    assert (usd, said in source) == (None, True)


# ---- the list: the figures that the wire page measured, 1000 in (200 cached) + 500 out


@pytest.mark.parametrize(
    ("kind", "spec", "usd"),
    [
        ("azure", deployed("gpt-5-mini"), 0.001205),
        ("azure", deployed("gpt-5"), 0.006025),
        ("azure", deployed("gpt-5.1"), 0.006025),
        ("azure", deployed("gpt-5.4-mini"), 0.002865),
        ("azure", deployed("gpt-5.6-luna"), 0.000764),
        ("azure", deployed("gpt-6-luna"), 0.000332),
        ("openai", model("gpt-5-mini"), 0.001205),
        ("openrouter", model("deepseek/deepseek-v3.2-exp"), 0.000475),
        ("openrouter", model("moonshotai/kimi-k2-thinking"), 0.00176),
        ("gemini", model("gemini-2.5-flash"), 0.001496),
        ("gemini", model("models/gemini-2.5-flash"), 0.001496),
        ("gemini", model("gemini-3-flash-preview"), 0.00191),
        ("gemini", model("gemini-3.5-flash"), 0.00573),
        ("gemini", model("gemini-3.8-flash"), 0.00249),
        ("gemini", model("gemini-3.1-pro-preview"), 0.00764),
    ],
    ids=lambda value: getattr(value, "family", None) or getattr(value, "model_id", None),
)
def test_the_list_prices_are_the_ones_measured(kind, spec, usd):
    assert listed(kind, spec) == pytest.approx(usd, rel=1e-9)


def test_a_long_input_raises_the_price_of_every_token():
    spec = model("gemini-2.5-pro")
    assert listed("gemini", spec, Usage(100_000, 1000)) == pytest.approx(0.135)
    assert listed("gemini", spec, Usage(200_000, 1000)) == pytest.approx(0.26)
    assert listed("gemini", spec, Usage(300_000, 1000)) == pytest.approx(0.765)


def test_the_price_is_that_of_the_day_of_the_call():
    spec, usage = model("gemini-3.8-flash"), Usage(1_000_000, 1_000_000)
    for moment, usd in (
        (datetime(2026, 11, 1, tzinfo=UTC), 4.50),
        (datetime(2027, 1, 15, tzinfo=UTC), 9.00),
        (datetime(2026, 12, 31, 23, 59, tzinfo=UTC), 4.50),
        (datetime(2027, 1, 1, tzinfo=UTC), 9.00),
        (datetime(2026, 11, 1, tzinfo=UTC), 4.50),
    ):
        assert listed("gemini", spec, usage, moment) == pytest.approx(usd)


@pytest.mark.parametrize(
    ("name", "mode", "usage", "usd"),
    [
        ("gemini-2.5-flash-image", "image", Usage(10, 1290), 0.038703),
        ("gemini-3-pro-image-preview", "image", Usage(10, 1290), 0.15482),
        ("gemini-3-pro-image-preview", "image", Usage(10, 1390, 0, 100), 0.15602),  # thoughts are text
        ("gemini-2.5-flash-preview-tts", "speech", Usage(100, 800), 0.00805),
    ],
)
def test_the_answer_of_a_media_model_is_priced_as_media(name, mode, usage, usd):
    spec = model(name, capabilities=Capabilities(mode=mode))
    assert listed("gemini", spec, usage) == pytest.approx(usd)


def list_rows() -> list[tuple[str, str]]:
    names = {"azure": "azure", "openai": "openai", "openrouter": "openrouter", "google": "gemini"}
    rows = [(provider, row.id) for provider in get_snapshot().providers for row in provider.models]
    return [(names[provider.id], name) for provider, name in rows if provider.id in names]


@pytest.mark.parametrize("moment", [TODAY, datetime(2027, 3, 1, tzinfo=UTC)], ids=str)
def test_every_row_of_the_list_costs_what_the_library_says(moment):
    """Our arithmetic leaves out units that text calls do not have; the library's own is the reference."""
    compared = 0
    for kind, name in list_rows():
        spec = deployed(name) if kind == "azure" else model(name)
        for usage in (Usage(1000, 500, 200, 100), Usage(300_000, 2000, 150_000, 0)):
            cost, source = cost_of(spec, HOSTS[kind], usage, at=moment)
            if cost is None:
                assert "no price per input and output token" in source or f"lacks {name}" in source
                continue
            counts = {"input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens}
            counts |= {"cache_read_tokens": usage.cached_tokens}
            if usage.reasoning_tokens:
                counts |= {"output_reasoning_tokens": usage.reasoning_tokens}
            provider = "google" if kind == "gemini" else kind
            said = calc_price(ListUsage(**counts), name, provider_id=provider, genai_request_timestamp=moment)
            assert cost == pytest.approx(float(said.total_price), rel=1e-9), (kind, name)
            compared += 1
    assert compared > 1500


# ---- the worst case


def test_the_worst_case_is_the_whole_input_and_the_whole_limit():
    priced = model("i", price=Price(input=1.0, cached_input=0.1, output=4.0))
    assert worst_case_usd(priced, HOSTS["openai"], 1000, 500, deadline_s=60) == pytest.approx(0.003)
    dear = model("i", price=Price(input=1.0, output=4.0, reasoning=10.0))
    assert worst_case_usd(dear, HOSTS["openai"], 1000, 500, deadline_s=60) == pytest.approx(0.006)
    spec = deployed("gpt-5-mini")
    assert worst_case_usd(spec, HOSTS["azure"], 1000, 500, deadline_s=60, at=TODAY) == pytest.approx(0.00125)


def test_the_worst_case_is_unknown_without_a_price_or_a_limit():
    priced = model("i", price=Price(input=1.0, output=4.0))
    assert worst_case_usd(priced, HOSTS["openai"], 1000, None, deadline_s=60) is None
    assert worst_case_usd(model("x/y:free"), HOSTS["openrouter"], 1000, 500, deadline_s=60) is None


def test_a_local_model_works_on_two_cores_until_the_deadline_at_worst():
    local = model("i", price=Price(per_core_hour=3.6))
    here = HOSTS["openai_compatible"]
    assert worst_case_usd(local, here, 1000, None, deadline_s=10) == pytest.approx(0.02)


@given(
    prices=st.tuples(*[st.floats(0, 100)] * 4),
    limits=st.tuples(st.integers(1, 500_000), st.integers(1, 100_000)),
    parts=st.tuples(*[st.floats(0, 1)] * 4),
)
def test_no_answer_within_its_limits_costs_more_than_the_worst_case(prices, limits, parts):
    fresh, cached, answer, reasoning = prices
    price = Price(fresh, min(cached, fresh), answer, reasoning)
    spec = model("i", price=price)
    read, written = int(limits[0] * parts[0]), int(limits[1] * parts[1])
    usage = Usage(read, written, int(read * parts[2]), int(written * parts[3]))
    cost, _ = cost_of(spec, HOSTS["openai"], usage)
    worst = worst_case_usd(spec, HOSTS["openai"], *limits, deadline_s=1)
    assert worst is not None
    assert (cost or 0.0) <= worst * (1 + 1e-12)


# ---- what it costs to know


def test_the_list_is_loaded_when_it_is_needed_and_touches_no_network():
    program = (
        "import sys, socket\n"
        "def refuse(*a, **k): raise AssertionError('network')\n"
        "socket.socket.connect = socket.getaddrinfo = refuse\n"
        "import llmbench.pricing as p\n"
        "from llmbench.catalog import Endpoint, ModelSpec, Price\n"
        "from llmbench.messages import Usage\n"
        "priced = ModelSpec('m', 'p', 'i', price=Price(1.0, None, 2.0))\n"
        "p.cost_of(priced, Endpoint('p', 'openai'), Usage(1, 1))\n"
        "p.cost_of(ModelSpec('m', 'p', 'i'), Endpoint('p'), Usage(1, 1))\n"
        "assert 'genai_prices' not in sys.modules and 'pydantic' not in sys.modules\n"
        "p.begin_loading().join()\n"
        "assert 'genai_prices' in sys.modules\n"
        "cost, source = p.cost_of(ModelSpec('m', 'p', 'gpt-5-mini'), Endpoint('p', 'openai'), Usage(1, 1))\n"
        "assert cost and source == 'genai-prices'\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True)


def test_only_a_model_without_a_price_at_a_host_with_a_list_makes_it_load():
    assert uses_list(model("gpt-5-mini"), HOSTS["openai"])
    assert not uses_list(model("x/y"), HOSTS["openrouter"])  # it reports what it charged
    assert not uses_list(model("i", price=Price(1.0, None, 2.0)), HOSTS["openai"])
    assert not uses_list(model("i"), HOSTS["openai_compatible"])
    assert begin_loading() is begin_loading()


def test_a_listed_price_takes_less_than_40_microseconds():
    spec, rounds = deployed("gpt-5-mini"), 2000
    listed("azure", spec)
    best = 1.0
    for _ in range(5):
        started = time.process_time()
        for _ in range(rounds):
            cost_of(spec, HOSTS["azure"], USAGE)
        best = min(best, (time.process_time() - started) / rounds)
    assert best < 40e-6
