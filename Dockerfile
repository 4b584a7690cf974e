# The image of ratelimitd, a replacement for envoyproxy/ratelimit's: /bin/ratelimit is the service, configured by the same
# environment variables; ports 8080 (HTTP), 8081 (gRPC) and 6070 (debug).

ARG PYTHON=3.12

FROM python:${PYTHON}-slim AS build
# Build dependencies of the nghttp2 transport; what mypyc compiles needs the compiler too.
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev libnghttp2-dev pkg-config
WORKDIR /src
COPY requirements.txt requirements-otel.txt ./
RUN python -m venv /opt/ratelimitd
# The extra otel too, 10 MB: envoyproxy/ratelimit's image can trace, and who swaps the image cannot install anything. A process
# without TRACING_ENABLED does not import it.
RUN /opt/ratelimitd/bin/pip install --no-cache-dir --only-binary :all: -r requirements.txt -r requirements-otel.txt
COPY pyproject.toml setup.py README.md LICENSE LICENSE.nghttp2 ./
COPY ratelimitd ratelimitd
# The build context has no repository: --build-arg COMMIT=$(git rev-parse HEAD).
ARG COMMIT
RUN RATELIMITD_COMMIT=${COMMIT} /opt/ratelimitd/bin/pip install --no-cache-dir --no-deps .
# The extension and the compiled core are optional for the package, but required in the image.
RUN cd / && /opt/ratelimitd/bin/python -c 'import ratelimitd.transport.nghttp2 as _, ratelimitd; assert ratelimitd.__build__ == "compiled", ratelimitd.__build__'
# The final image does not need pip.
RUN /opt/ratelimitd/bin/pip uninstall --yes pip
# Deployments for envoyproxy/ratelimit, Envoy Gateway's among them, run /bin/ratelimit: `ratelimitd serve`, but arguments that
# it does not know are ignored, as upstream ignores all.
RUN printf '#!/bin/sh\nexec /opt/ratelimitd/bin/ratelimitd ratelimit "$@"\n' > /opt/ratelimitd/bin/ratelimit \
    && chmod 755 /opt/ratelimitd/bin/ratelimit

FROM python:${PYTHON}-slim
RUN apt-get update && apt-get install -y --no-install-recommends libnghttp2-14 && rm -rf /var/lib/apt/lists/*
COPY --from=build /opt/ratelimitd /opt/ratelimitd
RUN ln -s /opt/ratelimitd/bin/ratelimit /bin/ratelimit
# The service writes no files, so the root file system can be read-only; logs are not buffered.
ENV PATH=/opt/ratelimitd/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
# envoyproxy/ratelimit's default: a published port reaches no listener on loopback, and /rlconfig is read by pod address.
# The admin API needs its token and, by default, a caller on this host.
ENV DEBUG_HOST=0.0.0.0
# Debian's user `nobody`; Kubernetes' runAsNonRoot requires a numeric user.
USER 65534:65534
EXPOSE 8080 8081 6070
ENTRYPOINT ["/opt/ratelimitd/bin/ratelimitd"]
CMD ["serve"]
