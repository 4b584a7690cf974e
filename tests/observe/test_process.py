"""The metrics of process and interpreter beside prometheus_client's own."""

import resource

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.parser import text_string_to_metric_families as parsed

from ratelimitd.observe.metrics import family_text
from ratelimitd.observe.process import runtime_families

STEADY = ("python_info", "process_start_time_seconds", "process_max_fds")


def theirs():
    registry = CollectorRegistry()
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=registry)
    return list(parsed(generate_latest(registry).decode()))


def ours(*args):
    return list(parsed("".join(map(family_text, runtime_families(*args)))))


def shape(families):
    return [
        (f.name, f.type, f.documentation, [(s.name, sorted(s.labels.items())) for s in f.samples]) for f in families
    ]


def values(families):
    return {(s.name, *sorted(s.labels.items())): s.value for f in families for s in f.samples}


def test_names_texts_types_and_labels_are_prometheus_clients():
    """A board made for prometheus_client's process_ and python_ metrics goes on working."""
    assert shape(ours()) == shape(theirs())


def test_values_are_those_of_the_process():
    """What cannot change in between is equal, and the rest is near."""
    expected, found = values(theirs()), values(ours())
    for key, value in found.items():
        if key[0] in STEADY:
            assert value == expected[key], key
        elif "gc_" not in key[0]:
            assert 0.5 * expected[key] <= value <= 2 * expected[key] + 1, key
    assert found["process_max_fds",] == resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def test_without_proc_the_interpreter_is_told_all_the_same(tmp_path):
    """A system without /proc has no process_ metrics, and a scrape does not fail."""
    assert {family.name.split("_")[0] for family in ours(tmp_path)} == {"python"}
