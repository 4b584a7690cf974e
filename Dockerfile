# The image of ratelimitd, a replacement for envoyproxy/ratelimit's: /bin/ratelimit is the service, configured by the same
# environment variables; ports 8080 (HTTP), 8081 (gRPC) and 6070 (debug). It has no shell, no pip and no package manager.

# The digest is of the index of all architectures; the tag beside it is for people, and builders ignore it.
ARG BASE=debian:trixie-slim@sha256:a29215f6a35e51e22adffa17f89e9d2ef06214e64a2bad10d765c46aea49f11f

FROM ${BASE} AS build
# Build dependencies of the nghttp2 transport; what mypyc compiles needs the compiler too.
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates gcc libc6-dev libnghttp2-dev pkg-config python3-dev python3-venv
WORKDIR /src
COPY requirements.txt requirements-otel.txt requirements-build.txt ./
# Build tools have an environment of their own; no pip is ever installed in the image's.
RUN python3 -m venv /opt/build && python3 -m venv --without-pip /opt/ratelimitd
RUN /opt/build/bin/pip install --no-cache-dir --require-hashes --only-binary :all: -r requirements-build.txt
# The extra otel too, 10 MB: envoyproxy/ratelimit's image can trace, and a deployment with the image swapped installs nothing.
# A process without TRACING_ENABLED does not import it.
RUN /opt/build/bin/pip --python /opt/ratelimitd/bin/python install --no-cache-dir --require-hashes --only-binary :all: -r requirements.txt -r requirements-otel.txt
COPY pyproject.toml setup.py README.md LICENSE* ./
COPY ratelimitd ratelimitd
# 2 as mypy's own build; 0 takes a quarter of the time, for tests of the image. The commit is for `ratelimitd --version`.
ARG MYPYC_OPT_LEVEL=2 REVISION=
RUN RATELIMITD_COMMIT="${REVISION}" /opt/build/bin/pip wheel --no-index --no-deps --no-build-isolation --wheel-dir /opt/build/dist .
RUN /opt/build/bin/pip --python /opt/ratelimitd/bin/python install --no-index --no-deps /opt/build/dist/*.whl
# The extension and the compiled core are optional for the package, but required in the image.
RUN cd / && /opt/ratelimitd/bin/python -c 'import ratelimitd.transport.nghttp2 as _, ratelimitd; assert ratelimitd.__build__ == "compiled", ratelimitd.__build__'
# Deployments for envoyproxy/ratelimit, Envoy Gateway's among them, run /bin/ratelimit.
COPY image/ratelimit image/readyz /opt/ratelimitd/bin/

# The root of the image: files of Debian's packages, which are listed in var/lib/dpkg/status.d, where scanners look for them.
FROM build AS root
WORKDIR /packages
RUN apt-get download base-files ca-certificates libbz2-1.0 libc6 libexpat1 libffi8 libgcc-s1 liblzma5 libnghttp2-14 \
    libpython3.13-minimal libpython3.13-stdlib libssl3t64 libstdc++6 libuuid1 libzstd1 netbase python3.13-minimal tzdata zlib1g
# base-files first: it makes /bin, /lib and /sbin links into /usr.
RUN mkdir -p /image/var/lib/dpkg/status.d && for each in base-files_*.deb *.deb; do \
    dpkg-deb -x "$each" /image && dpkg-deb -f "$each" > "/image/var/lib/dpkg/status.d/${each%%_*}" || exit 1; done
# Modules whose libraries the image has not (databases, terminals), what converts character sets, manuals and translations.
RUN cd /image/usr && rm -rf lib/*/gconv share/man share/locale share/lintian share/bug \
    && rm -f lib/python3.13/lib-dynload/_curses* lib/python3.13/lib-dynload/_dbm* lib/python3.13/lib-dynload/_sqlite3* \
        lib/python3.13/lib-dynload/readline* \
    && find share/doc -type f ! -name copyright -delete && find share/doc -depth -type d -empty -delete
# No installation script runs, so these are made here: certificates where OpenSSL looks for them, names of users, and the order in
# which names of hosts are looked up.
RUN cp /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/ && mkdir -p /image/usr/lib/ssl \
    && ln -s /etc/ssl/certs /image/usr/lib/ssl/certs && ln -s /etc/ssl/certs/ca-certificates.crt /image/usr/lib/ssl/cert.pem \
    && printf 'root:x:0:0:root:/root:/usr/sbin/nologin\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n' > /image/etc/passwd \
    && printf 'root:x:0:\nnogroup:x:65534:\n' > /image/etc/group \
    && printf 'hosts: files dns\n' > /image/etc/nsswitch.conf
RUN mkdir -p /image/opt && cp -a /opt/ratelimitd /image/opt/ && rm -rf /image/opt/ratelimitd/include \
    && find /image/opt/ratelimitd/bin -type f ! -name 'ratelimit*' ! -name readyz -delete \
    && ln -s /opt/ratelimitd/bin/ratelimit /opt/ratelimitd/bin/readyz /image/usr/bin/ && ln -s python3.13 /image/usr/bin/python3
# Bytecode of all modules, as the root can be read-only; it is not compared with the times of its sources, which builders change.
RUN python3 -m compileall -q -f -s /image --invalidation-mode unchecked-hash /image/usr/lib/python3.13 /image/opt/ratelimitd/lib

FROM scratch
COPY --from=root /image /
# The service writes no files, so the root file system can be read-only; logs are not buffered.
ENV PATH=/opt/ratelimitd/bin:/usr/bin PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 LANG=C.UTF-8
# envoyproxy/ratelimit's default: a published port reaches no listener on loopback, and /rlconfig is read by pod address.
# The admin API needs its token and, by default, a caller on this host.
ENV DEBUG_HOST=0.0.0.0
# Filled in by the release; a build by hand has none of these.
ARG VERSION= REVISION= CREATED= SOURCE=
LABEL org.opencontainers.image.title="ratelimitd" \
    org.opencontainers.image.description="Rate-limit service for Envoy, in place of envoyproxy/ratelimit" \
    org.opencontainers.image.licenses="MIT" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}" \
    org.opencontainers.image.created="${CREATED}" \
    org.opencontainers.image.source="${SOURCE}"
# Debian's user `nobody`; Kubernetes' runAsNonRoot requires a numeric user.
USER 65534:65534
EXPOSE 8080 8081 6070
# Docker, Compose and Swarm run it; Kubernetes has probes of its own. One run costs 25 ms of a core, 0.25 % at 10 s.
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 CMD ["/bin/readyz"]
ENTRYPOINT ["/opt/ratelimitd/bin/ratelimitd"]
CMD ["serve"]
