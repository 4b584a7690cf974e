"""The three settings of the admin API."""

import pytest

from ratelimitd.settings import SettingsError, load

TOKEN = "0123456789abcdef"


def problems(**given):
    with pytest.raises(SettingsError) as caught:
        load(given, {})
    return {problem.name: str(problem) for problem in caught.value.problems}


def test_it_is_off_by_itself():
    """No token, and none but this host may come."""
    settings = load({}, {})
    assert (settings.admin_token, settings.admin_token_file, settings.admin_remote) == ("", "", False)


def test_a_token_of_sixteen_characters_is_one():
    """Any visible ASCII."""
    assert load({"ADMIN_TOKEN": TOKEN}, {}).admin_token == TOKEN


@pytest.mark.parametrize(
    ("token", "why"),
    [
        (TOKEN[:-1], "shorter than 16 characters"),
        ("sixteen or more, with blanks", "white space"),
        (f"{TOKEN}\n", "white space"),
        (f"{TOKEN}é", "non-ASCII"),
    ],
)
def test_a_token_nobody_should_use_ends_the_start(token, why):
    """With what to write instead, and without the token."""
    problem = problems(ADMIN_TOKEN=token)["ADMIN_TOKEN"]
    assert why in problem
    assert "openssl rand" in problem
    assert token not in problem


@pytest.mark.parametrize("name", ["ADMIN_TOKEN", "ADMIN_TOKEN_FILE"])
def test_set_but_empty_ends_the_start(name):
    """It is a secret that did not arrive, and not the wish for no API."""
    assert "set but empty" in problems(**{name: ""})[name]


def test_one_token_only():
    """With two nobody could say which one counts."""
    assert "keep one" in problems(ADMIN_TOKEN=TOKEN, ADMIN_TOKEN_FILE="/run/token")["ADMIN_TOKEN_FILE"]


def test_remote_callers_of_nothing_end_the_start():
    """Somebody meant an API that is off."""
    assert "without an admin API" in problems(ADMIN_REMOTE="true")["ADMIN_REMOTE"]
    assert load({"ADMIN_REMOTE": "true", "ADMIN_TOKEN_FILE": "/run/token"}, {}).admin_remote
