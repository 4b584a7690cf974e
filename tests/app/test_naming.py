"""Errors of the start name the setting to change."""

import socket

import pytest

from ratelimitd.app.naming import gateway_tls, grpc_tls, port_set_by
from ratelimitd.gateway import read_gateway
from ratelimitd.net.files import reason
from ratelimitd.net.listen import bind
from ratelimitd.settings import load
from testkit.tls_files import tls_files
from tests.service import service

POLICY = "domain: d\ndescriptors: [{key: k, rate_limit: {unit: day}}]\n"


@pytest.fixture
def certificates(tmp_path):
    return tls_files(tmp_path)


def test_a_taken_port_names_its_setting_once():
    """With the address and the cause, each once."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match="cannot listen") as caught, port_set_by("PORT"):
            bind("127.0.0.1", port)
    assert reason(caught.value) == (
        f"cannot listen on 127.0.0.1:{port}: Address already in use; "
        "set PORT to another port, or stop the process that has this one"
    )


def test_any_other_error_of_a_port_names_its_setting():
    """Another port would not help."""
    with pytest.raises(OSError, match="cannot listen") as caught, port_set_by("HOST"):
        bind("192.0.2.1", 0)
    assert reason(caught.value) == "cannot listen on 192.0.2.1:0: Cannot assign requested address; set by HOST"


def grpc_error(**paths):
    env = {f"GRPC_{name.upper()}": str(path) for name, path in paths.items()}
    with pytest.raises(OSError, match="GRPC_") as caught:
        grpc_tls(load({"GRPC_SERVER_USE_TLS": "true", **env}, {}))
    return reason(caught.value)


def test_a_missing_file_of_tls_names_its_setting(certificates):
    """The certificate, the key, or the CA of clients, whichever is missing."""
    good = {"server_tls_cert": str(certificates.server_certificate), "server_tls_key": str(certificates.server_key)}
    for name in (*good, "client_tls_cacert"):
        missing = f"{certificates.server_certificate}.missing"
        paths = {**good, name: missing}
        assert grpc_error(**paths) == f"GRPC_{name.upper()}: {missing}: No such file or directory"


def test_files_of_tls_that_do_not_fit_name_their_settings(certificates):
    """A wrong pair names both settings in a sentence, and a CA that is none its own."""
    pair = {"server_tls_cert": str(certificates.server_certificate), "server_tls_key": str(certificates.authority)}
    wrong = grpc_error(**pair)
    assert wrong.startswith("GRPC_SERVER_TLS_CERT and GRPC_SERVER_TLS_KEY: cannot use the certificate /")
    assert not wrong.endswith(",)")
    ca = {"server_tls_cert": str(certificates.server_certificate), "server_tls_key": str(certificates.server_key)}
    assert grpc_error(**ca, client_tls_cacert=str(certificates.client_key)).startswith(
        "GRPC_CLIENT_TLS_CACERT: cannot use the "
    )


def test_files_of_tls_that_can_be_used(certificates):
    """They are taken; without TLS there are none."""
    env = {
        "GRPC_SERVER_TLS_CERT": str(certificates.server_certificate),
        "GRPC_SERVER_TLS_KEY": str(certificates.server_key),
    }
    assert grpc_tls(load({"GRPC_SERVER_USE_TLS": "true", **env}, {})).cert == str(certificates.server_certificate)
    assert grpc_tls(load({}, {})) is None


def test_files_of_a_gateway_are_named_by_its_keys(certificates, tmp_path):
    """With the name of the file; relative paths are relative to it."""
    head = "upstreams: {a: {url: 'http://b'}}\nroutes: [{upstream: a}]\npolicies: p\n"
    name = str(tmp_path / "gateway.yaml")

    def read(tls):
        return gateway_tls(read_gateway(name, f"{head}tls: {tls}\n".encode()))

    with pytest.raises(OSError, match="cert") as caught:
        read(f"{{cert: none.pem, key: {certificates.server_key}}}")
    assert reason(caught.value) == f"{name}: 'cert' of 'tls': {tmp_path}/none.pem: No such file or directory"
    with pytest.raises(OSError, match="cert") as caught:
        read(f'{{cert: "a\\0b", key: {certificates.server_key}}}')
    assert reason(caught.value).endswith("a path cannot contain a null character")
    relative = certificates.server_certificate.relative_to(tmp_path)
    assert read(f"{{cert: {relative}, key: {certificates.server_key}}}").cert == str(certificates.server_certificate)
    assert gateway_tls(read_gateway(name, head.encode())) is None


@pytest.mark.process
@pytest.mark.parametrize("setting", ["GRPC_PORT", "PORT", "DEBUG_PORT", "PROMETHEUS_ADDR", "LISTEN_ADDR"])
async def test_every_port_of_a_process_is_named_by_its_setting(tmp_path, setting):
    """One line says which port is taken, and which variable moves it."""
    (tmp_path / "policy.yaml").write_text(POLICY)
    proxy = setting == "LISTEN_ADDR"
    with socket.create_server(("0.0.0.0", 0)) as taken:
        port = taken.getsockname()[1]
        env = {setting: f":{port}" if setting.endswith("ADDR") else str(port), "USE_PROMETHEUS": "true"}
        env = {"PROMETHEUS_ADDR": "127.0.0.1:0", **env}
        words = () if proxy else ("--config", str(tmp_path / "policy.yaml"))
        async with service(*words, env=env, ready=False, command="proxy" if proxy else "serve") as running:
            line = await running.logged("cannot start")
            assert await running.ended() == 1
    every = ", which is every IPv4 and IPv6 address of this host" if setting.endswith("ADDR") else ""
    assert line["reason"].endswith(
        f":{port}{every}: Address already in use; set {setting} to another port, or stop the process that has this one"
    )
