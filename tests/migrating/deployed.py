"""A manifest's container, running in the namespaces of ``testkit.pod``, and its surroundings."""

import asyncio
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from testkit.pod import ADDRESS, all_users, command, entry_point, image_environment, make_root
from tests.migrating.manifests import IMAGE_USER
from tests.service import Service

KUBERNETES = {
    "HOSTNAME": "pod-5d9f",
    "KUBERNETES_SERVICE_HOST": "10.96.0.1",
    "KUBERNETES_SERVICE_PORT": "443",
    "KUBERNETES_PORT": "tcp://10.96.0.1:443",
}
"""What the kubelet adds to the environment of each container, besides ``links``."""

LONG = 120.0


async def check_doctor(running):
    """``kubectl exec … -- ratelimitd doctor`` finds nothing bad beside the running service, once it has the time."""
    said = ""

    async def code():
        nonlocal said
        process = await running.run("ratelimitd", "doctor")
        said = "".join(part.decode() for part in await process.communicate())
        return process.returncode

    await until(code, 0, lambda: said)


def links(service, port):
    """Return the variables that the kubelet makes of a Service of the namespace, unless enableServiceLinks is false."""
    name = service.upper().replace("-", "_")
    address = f"tcp://10.96.7.7:{port}"
    return {
        f"{name}_SERVICE_HOST": "10.96.7.7",
        f"{name}_SERVICE_PORT": str(port),
        f"{name}_PORT": address,
        f"{name}_PORT_{port}_TCP": address,
        f"{name}_PORT_{port}_TCP_PROTO": "tcp",
        f"{name}_PORT_{port}_TCP_PORT": str(port),
        f"{name}_PORT_{port}_TCP_ADDR": "10.96.7.7",
    }


def equal(actual, expected, what=""):
    """Raise AssertionError with both; here no plugin makes an assertion tell them."""
    if actual != expected:
        raise AssertionError(f"{what}\n{actual!r}\nis not\n{expected!r}")


@asynccontextmanager
async def deployed(manifest, folder, mounts, names, more=(), trusted=None):
    """Run the container of a manifest.

    ``mounts`` are folders by path, ``names`` hosts, ``more`` the kubelet's variables, ``trusted`` an authority that the
    image knows.
    """
    equal(sorted(mounts), sorted(manifest.mounts), "the volumes")
    root = folder / "root"
    make_root(root, mounts, names, read_only=manifest.read_only, trusted=trusted)
    env = {**image_environment(), **KUBERNETES, **dict(more), **manifest.env}

    async def run(*words):
        return await asyncio.create_subprocess_exec(
            *command(root, words, IMAGE_USER if manifest.user is None else manifest.user),
            env=env,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    running = Service(await run(*(manifest.command or entry_point()), *manifest.args))
    running.run = run
    try:
        yield running
    finally:
        await running.end()


class Sent:
    """Lines that a statsd got."""

    def __init__(self):
        self.lines = []

    async def has(self, line):
        """Whether this one was among them."""
        return line in self.lines


@asynccontextmanager
async def statsd():
    """A statsd over TCP, at the port of statsd_exporter."""
    sent = Sent()

    async def serve(reader, writer):
        async for line in reader:
            sent.lines.append(line.decode().strip())
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 9125):
        yield sent


async def page(port, path, host=ADDRESS):
    """Return status and text of a page, or (0, why not)."""
    where = f"[{host}]" if ":" in host else host
    try:
        async with aiohttp.ClientSession() as client, client.get(f"http://{where}:{port}{path}") as answer:
            return answer.status, await answer.text()
    except aiohttp.ClientError as error:
        return 0, str(error)


async def probe(which):
    """Ask as the kubelet does, by the pod's address; returns the status, 0 for no answer."""
    headers = {"User-Agent": "kube-probe/1.34", "Accept": "*/*", "Connection": "close"}
    url = f"http://{ADDRESS}:{which.port}{which.path}"
    try:
        async with aiohttp.ClientSession() as client, client.get(url, headers=headers) as answer:
            return answer.status
    except aiohttp.ClientError:
        return 0


async def until(look, wanted, told=None):
    """Repeat ``look()`` until it returns this; ``told`` returns what an error shows besides."""
    found = None
    try:
        async with asyncio.timeout(LONG):
            while (found := await look()) != wanted:
                await asyncio.sleep(0.1)
    except TimeoutError:
        more = told() if told is not None else ""
        raise AssertionError(f"{found!r} instead of {wanted!r} after {LONG:g} s\n{more}") from None


def told(running):
    """Return the warnings of its start: what its environment says in vain. Later ones may be of a slow machine."""
    messages = [line["@message"] for line in running.log]
    return [line["@message"] for line in running.log[: messages.index("starting")] if line["level"] != "info"]


def confined(running):
    """Return user, capabilities and no_new_privs of the process."""
    lines = Path(f"/proc/{running.process.pid}/status").read_text().splitlines()
    status = dict(line.split(":", 1) for line in lines)
    return {name: status[name].split()[0] for name in ("Uid", "CapEff", "CapBnd", "NoNewPrivs")}


def mounted(running):
    """Return "ro" or "rw" of its root folder."""
    lines = Path(f"/proc/{running.process.pid}/mountinfo").read_text().splitlines()
    (options,) = (words[5] for words in map(str.split, lines) if words[4] == "/")
    return options.partition(",")[0]


NOTHING = f"{0:016x}"


def check_confined(running, manifest):
    """It runs as the user of the manifest, if this machine permits others, and without capabilities."""
    expected = str(IMAGE_USER if manifest.user is None else manifest.user) if all_users() else "0"
    wanted = {"Uid": expected, "CapEff": NOTHING, "CapBnd": NOTHING, "NoNewPrivs": "1"}
    equal(confined(running), wanted, "the process")
    equal(mounted(running), "ro" if manifest.read_only else "rw", "the root folder")
