# H2A with its locked packages and Quarto, for a laptop, a server or (through Apptainer) a cluster:
# Not built here; tests/test_packages.py checks what it names.
#   docker build -t h2a .
#   docker run --rm -v "$PWD/report/_output:/h2a/report/_output" h2a report
#   docker run --rm -p 8888:8888 --entrypoint jupyter h2a lab --ip=0.0.0.0 --allow-root
FROM python:3.12-slim

ARG QUARTO=1.10.20
ARG TARGETARCH=amd64
RUN apt-get update -q \
    && apt-get install -y -q --no-install-recommends ca-certificates curl git make \
    && curl -fsSL -o /tmp/quarto.deb \
       "https://github.com/quarto-dev/quarto-cli/releases/download/v${QUARTO}/quarto-${QUARTO}-linux-${TARGETARCH}.deb" \
    && apt-get install -y -q /tmp/quarto.deb \
    && rm -rf /tmp/quarto.deb /var/lib/apt/lists/*

WORKDIR /h2a
# The packages first: they change less often than the code.
COPY requirements.lock pyproject.toml README.md LICENSE ./
RUN pip install --no-cache-dir uv==0.13.9 \
    && uv pip install --system --no-cache --require-hashes -r requirements.lock
COPY . .
RUN uv pip install --system --no-cache --no-deps -e .

ENTRYPOINT ["h2a"]
CMD ["report"]
