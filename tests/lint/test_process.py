"""The lint as a process runs it: at each load, in the log."""

import pytest

from tests.app.test_ports import FILE
from tests.gateway_process import gateway


@pytest.mark.process
async def test_warnings_of_the_lint_are_logged_at_each_load(tmp_path):
    """One line each, with file, line, remedy and rule, of the gateway file and its policy together."""
    file = tmp_path / "gateway.yaml"
    file.write_text(FILE.format(port=1).replace("key: remote_address", "key: remote_adress"))
    async with gateway("--config", str(file)) as running:
        first = await running.logged("[no-limit-matches]")
        second = await running.logged("[limit-never-sent]")
        assert first["@message"].startswith(
            f"{file}: route '/' sends (remote_address): no limit matches; the policy has"
        )
        assert second["level"] == "warning"
        file.write_text(FILE.format(port=1).replace("key: remote_address", "key: remote_addres"))
        again = await running.logged("[no-limit-matches]", after=running.log.index(second))
    assert "'remote_addres'" in again["@message"]
