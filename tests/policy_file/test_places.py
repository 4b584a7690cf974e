"""Which line of which file a limit is written on."""

import pytest

from ratelimitd.policy import where_of
from ratelimitd.policy_file import examine, parse, read_overlay
from tests.policy_file.reading import errors

WRITTEN = [
    ("- key: k\n  rate_limit:\n    unit: UNIT\n", [4]),
    ("- key: k\n  rate_limit:\n    # often\n\n    unit: UNIT\n", [4]),
    ("- {key: k, rate_limit: {unit: UNIT}}\n", [3]),
    ("- {key: k,\n   rate_limit: {\n     unit: UNIT}}\n", [4]),
    ("- rate_limits:\n  - unit: UNIT\n  # another\n  - name: n\n    unit: UNIT\n  key: k\n", [4, 6]),
    ("- {key: k, rate_limits: [{unit: UNIT},\n  {name: n, unit: UNIT}, {unit: UNIT}]}\n", [3, 4, 4]),
    ("- {key: k, rate_limit: {unit: hour},\n   rate_limit: {unit: UNIT}}\n", [4]),
    ("- key: k\n  detailed_metric: true\n\n  'rate_limit' : {unit: UNIT}\n", [6]),
]


def places(policy):
    """The places of all limits, as text."""
    return [str(where_of(policy, node, index)) for node in policy.nodes for index in range(len(node.limits))]


def read(*texts, **options):
    return parse([(f"{number}.yaml", text.encode()) for number, text in enumerate(texts)], **options)


@pytest.mark.parametrize(("text", "lines"), WRITTEN)
def test_the_line_of_a_limit_is_that_of_its_key_or_item(text, lines):
    """As an editor counts, whatever the style, and with CRLF and a BOM; an error about the limit has it too."""
    text = f"domain: test-domain\ndescriptors:\n{text}"
    for made in (text, text.replace("\n", "\r\n"), "\ufeff" + text):
        assert places(read(made.replace("UNIT", "day"))) == [f"0.yaml:{line}" for line in lines]
        told = errors(made.replace("UNIT", "fortnight"))
        assert [int(each.partition("(line ")[2].rstrip(")")) for each in told] == lines


def test_a_limit_of_an_anchor_is_where_the_anchor_is():
    """That is where it is changed; a merged key is where it is written."""
    text = (
        "domain: d\ndescriptors:\n- key: a\n  rate_limit: &plain\n    unit: day\n"
        "- key: b\n  rate_limit: *plain\n- &whole\n  key: c\n  rate_limit:\n    unit: hour\n- {<<: *whole, key: e}\n"
    )
    assert places(read(text)) == ["0.yaml:4", "0.yaml:4", "0.yaml:10", "0.yaml:10"]


def test_a_domain_of_several_files_has_places_in_each():
    """MERGE_DOMAIN_CONFIG: a domain begins in one file and goes on in the next."""
    one = "domain: a\ndescriptors: [{key: k, rate_limit: {unit: day}}]\n"
    two = "domain: b\ndescriptors: [{key: k, rate_limit: {unit: day}}]\n"
    more = "domain: a\n\ndescriptors: [{key: l, descriptors: [{key: m, rate_limit: {unit: day}}]}]\n"
    policy = read(one, two, more, merge_domains=True)
    assert sorted(places(policy)) == ["0.yaml:2", "1.yaml:2", "2.yaml:3"]
    (inner,) = policy.domains[b"a"].root.children[b"l"].children.values()
    assert str(where_of(policy, inner, 0)) == "2.yaml:3"


def test_an_overlay_does_not_move_a_limit():
    """Its place is that in the policy; the lines of the overlay's entries stay beside it."""
    overlay = read_overlay("overlay.yaml", b"overlay:\n- domain: d\n  path: [k]\n  algorithm: gcra\n")
    files = [("p.yaml", b"domain: d\ndescriptors:\n- {key: k, rate_limit: {unit: day, requests_per_unit: 5}}\n")]
    (row,) = examine(files, overlay=overlay).rows[1:]
    assert (row.file, row.lines, row.limits[0].overlaid) == ("p.yaml", (3,), (("algorithm", 2),))


def test_lines_make_no_limit_differ():
    """Equal limits stay one object, wherever they are written."""
    text = "domain: d\ndescriptors:\n" + "".join(f"- {{key: k{n}, rate_limit: {{unit: day}}}}\n" for n in range(99))
    assert len({id(node.limits) for node in read(text).nodes[1:]}) == 1
