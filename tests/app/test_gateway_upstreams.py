"""What the keys of an upstream do to its requests: the Host it gets, and which certificates are good enough."""

import os
import ssl

import aiohttp
import pytest
import trustme

from ratelimitd.app.gateway_files import read
from ratelimitd.policy import PolicyErrors
from ratelimitd.sources import GatewayFile
from ratelimitd.sources.files import signature
from tests.app.proxying import application, proxying
from tests.gateway_process import gateway, statuses
from tests.http1.rig import ScriptedUpstream, get


def host(answer):
    (line,) = [line for line in answer.split(b"\r\n") if line.lower().startswith(b"host:")]
    return line.partition(b": ")[2].decode()


@pytest.mark.parametrize(("key", "wanted"), [("keep", "a"), ("rewrite", "{url}"), ("b.example:81", "b.example:81")])
async def test_an_upstream_gets_the_host_that_the_file_says(tmp_path, key, wanted):
    """The client's, that of its URL, or a literal one; X-Forwarded-Host is the client's, and there is one Host."""
    async with application() as url, proxying(tmp_path, upstreams={"app": {"url": url, "host": key}}) as front:
        for request in (get(), b"GET / HTTP/1.0\r\nhOST: a\r\n\r\n"):
            _, answer = await front.ask(request)
            got = answer.partition(b"app ")[2]
            assert host(got) == wanted.format(url=url.removeprefix("http://"))
            assert b"X-Forwarded-Host: a\r\n" in got


class Authority:
    """A CA, and an upstream on localhost with a certificate of it."""

    def __init__(self, folder):
        self.ca, self.folder = trustme.CA(), folder
        self.write()

    def write(self):
        self.ca.cert_pem.write_to_path(self.folder / "new.pem")
        (self.folder / "new.pem").rename(self.folder / "ca.pem")

    async def start(self, names=("localhost",)):
        """Start an upstream; it answers with the name that the client asks TLS for, and with the request's Host."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.ca.issue_cert(*names).configure_cert(context)
        asked = []
        context.sni_callback = lambda _, name, __: asked.append(name)
        upstream = ScriptedUpstream()

        async def answer(reader, writer):
            head = await reader.readuntil(b"\r\n\r\n")
            body = b"%s|%s" % (str(asked[-1]).encode(), host(head).encode())
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b" % (len(body), body))
            writer.close()

        upstream.serve(answer)
        return await upstream.start(tls=context)


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


@pytest.mark.parametrize(
    ("names", "keys", "status"),
    [
        (["localhost"], {}, 502),
        (["localhost"], {"ca": "ca.pem"}, 200),
        (["elsewhere"], {"ca": "ca.pem"}, 502),
        (["elsewhere"], {"verify": False}, 200),
    ],
)
async def test_a_certificate_is_verified_as_the_file_says(authority, tmp_path, names, keys, status):
    """By the system's authorities, or by those of ``ca``, for the host of its URL; with ``verify: false`` not at all.

    The name that TLS asks for is that host, whatever Host says.
    """
    upstream = await authority.start(names)
    try:
        url = f"https://localhost:{upstream.port}"
        async with proxying(tmp_path, upstreams={"app": {"url": url, "host": "rewrite", **keys}}) as front:
            found, answer = await front.ask(get())
            assert found == status
            assert status == 502 or answer.endswith(f"localhost|localhost:{upstream.port}".encode())
    finally:
        await upstream.stop()


async def test_another_content_of_ca_is_another_upstream(authority, tmp_path):
    """A reload reads the file again; a reload that changes neither it nor its keys keeps the upstream."""
    upstream = await authority.start()
    app = {"url": f"https://localhost:{upstream.port}", "ca": "ca.pem"}
    try:
        async with proxying(tmp_path, upstreams={"app": app}) as front:
            assert (await front.ask(get()))[0] == 200
            kept = front.files.upstreams["app"]
            await front.reload(upstreams={"other": {"url": "http://a"}, "app": app}, routes=[{"upstream": "app"}])
            assert front.files.upstreams["app"] is kept
            authority.ca = trustme.CA()
            authority.write()
            await front.reload(upstreams={"app": app})
            assert (await front.ask(get()))[0] == 502
    finally:
        await upstream.stop()


def test_the_file_of_ca_is_watched(authority, tmp_path):
    """A change of it is a change of the gateway file."""
    file = tmp_path / "gateway.yaml"
    file.write_text("upstreams: {a: {url: 'https://a', ca: ca.pem}}\nroutes: [{}]\npolicies: {domain: d}\n")
    before = signature(GatewayFile(str(file)))
    assert before == signature(GatewayFile(str(file)))
    authority.write()
    assert before != signature(GatewayFile(str(file)))


@pytest.mark.parametrize(
    ("content", "why"), [(None, "No such file"), ("no certificate\n", "not a file of PEM"), ("pipe", "not a regular")]
)
async def test_a_file_of_ca_that_cannot_be_used_is_an_error_with_its_line(tmp_path, content, why):
    """At the start and at each reload, before any request."""
    if content == "pipe":
        os.mkfifo(tmp_path / "ca.pem")
    elif content:
        (tmp_path / "ca.pem").write_text(content)
    file = tmp_path / "gateway.yaml"
    file.write_text("upstreams:\n  a:\n    url: https://a\n    ca: ca.pem\nroutes: [{}]\npolicies: {domain: d}\n")
    with pytest.raises(PolicyErrors) as caught:
        await read(str(file))
    (error,) = caught.value.errors
    assert (error.line, "'ca' of upstream 'a'" in error.message, why in error.message) == (4, True, True)


@pytest.mark.process
@pytest.mark.slow
async def test_a_running_gateway_takes_another_content_of_ca(authority, tmp_path):
    """It is reloaded when the file changes; with a content that is no certificate, the one before stays in effect."""
    upstream = await authority.start()
    file = tmp_path / "gateway.yaml"
    url = f"https://localhost:{upstream.port}"
    file.write_text(f"upstreams: {{a: {{url: '{url}', ca: ca.pem}}}}\nroutes: [{{}}]\npolicies: {{domain: d}}\n")
    try:
        async with (
            gateway("--config", str(file)) as running,
            aiohttp.ClientSession(f"http://{running.proxy}") as client,
        ):
            assert await statuses(client, 1) == [200]
            mark = len(running.log)
            (tmp_path / "ca.pem").write_text("no certificate\n")
            assert "(line 1)" in (await running.logged("'ca' of upstream 'a' cannot be used", after=mark))["@message"]
            assert await statuses(client, 1) == [200]
            authority.ca, mark = trustme.CA(), len(running.log)
            authority.write()
            await running.logged("policy loaded", after=mark)
            assert await statuses(client, 1) == [502]
    finally:
        await upstream.stop()
