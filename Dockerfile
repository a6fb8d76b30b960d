# The image of argosy: worker, tracker, gateway, migration, the command. It runs as any user who is not root, on a root that cannot be written.
# As BASE does every image with Python 3.11 or newer and its module venv.
ARG BASE=docker.io/library/python:3.11-slim-bookworm

FROM ${BASE} AS build
# Every package is fetched by its hash. To ask an index of your own: --secret id=pip,src=pip.conf; where its certificate is from an
# authority of your own, --secret id=ca,src=ca.crt and in pip.conf cert = /run/secrets/ca
ENV PIP_CONFIG_FILE=/run/secrets/pip PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_REQUIRE_VIRTUALENV=0
WORKDIR /src
COPY requirements.lock requirements-build.lock ./
RUN --mount=type=secret,id=pip --mount=type=secret,id=ca \
    python3 -m venv /opt/build && python3 -m venv --without-pip /opt/argosy && \
    /opt/build/bin/pip install --require-hashes --only-binary=:all: --requirement requirements-build.lock && \
    /opt/build/bin/pip --python /opt/argosy/bin/python3 install --require-hashes --only-binary=:all: --requirement requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY manifests manifests
COPY clusters/jobcluster.yaml clusters/jobcluster.yaml
COPY worker/argosy worker/argosy
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --no-index --wheel-dir dist . && \
    /opt/build/bin/pip --python /opt/argosy/bin/python3 install --no-deps --no-index dist/*.whl

# hadolint ignore=DL3006
FROM ${BASE}
ARG VERSION=0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="argosy" \
      org.opencontainers.image.description="Background jobs of a media-annotation platform, run as Argo Workflows" \
      org.opencontainers.image.licenses="Apache-2.0 AND 0BSD" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /opt/argosy /opt/argosy
# Nobody but /tmp and what the chart mounts can be written to, and a user that no file knows has no home.
ENV PATH=/opt/argosy/bin:/usr/local/bin:/usr/bin:/bin HOME=/tmp PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /tmp
# A number, so that Kubernetes can tell that it is not root; its group is the one that OpenShift's users have.
USER 10001:0
CMD ["argosy", "--help"]
