"""Settings of traces: upstream's defaults and meaning."""

import pytest

from ratelimitd.settings import ROWS, RowStatus, SettingsError, load


def test_defaults_are_upstreams():
    """Off; a service name, HTTP, and every trace."""
    settings = load({}, {})
    found = {name: getattr(settings, name) for name in vars(settings) if name.startswith("tracing_")}
    assert found == {
        "tracing_enabled": False,
        "tracing_service_name": "RateLimit",
        "tracing_service_namespace": "",
        "tracing_service_instance_id": "",
        "tracing_exporter_protocol": "http",
        "tracing_sampling_rate": 1.0,
    }


@pytest.mark.parametrize(
    ("text", "rate"), [("0", 0.0), ("0.25", 0.25), ("1e-3", 0.001), ("1", 1.0), ("100", 1.0), ("-1", 0.0), ("inf", 1.0)]
)
def test_a_rate_out_of_bounds_is_the_next_one(text, rate):
    """envoyproxy/ratelimit starts with any number: 1 and more samples every trace, 0 and less none."""
    assert load({"TRACING_SAMPLING_RATE": text}, {}).tracing_sampling_rate == rate


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("TRACING_SAMPLING_RATE", "all", "write 0.1 for a tenth of the traces"),
        ("TRACING_SAMPLING_RATE", "nan", "not a number"),
        ("TRACING_EXPORTER_PROTOCOL", "udp", "write http or grpc"),
        ("TRACING_ENABLED", "yes", "write true or false"),
    ],
)
def test_a_wrong_value_is_an_error(name, value, why):
    """It says what to write instead."""
    with pytest.raises(SettingsError) as caught:
        load({name: value}, {})
    (problem,) = caught.value.problems
    assert (problem.name, why in problem.message) == (name, True), problem.message


def test_variables_of_the_exporter_are_its_own():
    """They are in the table, and not read here: a faulty one is no error of a process that does not trace."""
    names = [row.name for row in ROWS if row.status is RowStatus.EXPORTER]
    assert names[0] == "OTEL_EXPORTER_OTLP_ENDPOINT"
    settings = load({**dict.fromkeys(names, "canary"), "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "canary"}, {})
    assert settings.warnings == ()
    assert not settings.given & set(names)
