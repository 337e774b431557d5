# Two images: `autotuner` runs every step but the benchmark, and the services; `autotuner-bench` is the
# same with genai-bench. With docker, podman or buildah, from this folder:
#
#     docker build --target=autotuner -t inference-autotuner:0.1.0 .
#     docker build --target=autotuner-bench -t inference-autotuner-bench:0.1.0 .

# Python 3.11 or 3.12 with venv, on a Debian-like system.
ARG BASE_IMAGE=docker.io/library/python:3.11-slim-bookworm

FROM ${BASE_IMAGE} AS build
RUN python3 -m venv /opt/autotuner
ENV PATH=/opt/autotuner/bin:$PATH
WORKDIR /source
COPY requirements-cluster.lock .
RUN pip install --no-cache-dir --quiet --require-hashes -r requirements-cluster.lock
COPY . .
# pip and setuptools have done their work then: an image cannot install anything.
RUN pip install --no-cache-dir --quiet --no-deps --no-build-isolation . \
    && pip uninstall --quiet --yes setuptools pip

FROM ${BASE_IMAGE} AS build-bench
RUN python3 -m venv /opt/autotuner
ENV PATH=/opt/autotuner/bin:$PATH
WORKDIR /source
COPY requirements-bench.lock .
RUN pip install --no-cache-dir --quiet --require-hashes -r requirements-bench.lock
COPY . .
RUN pip install --no-cache-dir --quiet --no-deps --no-build-isolation . \
    && pip uninstall --quiet --yes setuptools pip

FROM ${BASE_IMAGE} AS runtime
LABEL org.opencontainers.image.title=inference-autotuner \
      org.opencontainers.image.description="Finds the launch flags of an LLM inference engine that serve your traffic best" \
      org.opencontainers.image.licenses=Apache-2.0
# By number, so that Kubernetes can see that it is not root. Its home is the one folder beside /tmp
# that is written to: the root file system may be read-only.
RUN echo autotuner:x:10001:10001::/home/autotuner:/usr/sbin/nologin >> /etc/passwd \
    && echo autotuner:x:10001: >> /etc/group \
    && mkdir /home/autotuner && chown 10001:10001 /home/autotuner
ENV PATH=/opt/autotuner/bin:$PATH \
    HOME=/home/autotuner \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
WORKDIR /home/autotuner
USER 10001:10001
ENTRYPOINT ["autotuner"]

FROM runtime AS autotuner-bench
COPY --from=build-bench /opt/autotuner /opt/autotuner

FROM runtime AS autotuner
COPY --from=build /opt/autotuner /opt/autotuner
