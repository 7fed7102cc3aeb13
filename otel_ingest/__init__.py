"""The write side: bytes on a socket -> rows committed.

1. ``http1`` / ``http2``  bytes -> requests, bounded; ``http_app`` / ``grpc_server``, ``exports``  what each exports.
2. ``wire``       bytes -> Export*ServiceRequest; content codings, protobuf, OTLP/JSON, salvage of damaged requests.
3. ``decode``     PURE: request -> rows of ``storage.rows``, or a reason why a record is rejected.
4. ``ingest``     one request: decode -> batch -> batcher -> result. Both transports call only this.
5. ``batcher``    group commit: a bounded queue and the writers that empty it into the sink.
6. ``storage.sink``  COPY, COMMIT. Only then is the request answered.
"""
