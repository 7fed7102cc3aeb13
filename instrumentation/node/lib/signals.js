'use strict';
// The three signals as a table: what differs between logs, traces and metrics on the way out, and nothing else.

const transformer = require('@opentelemetry/otlp-transformer');

/**
 * @typedef {'logs' | 'traces' | 'metrics'} SignalName
 *
 * @typedef {object} Serializer
 * @property {(items: any) => Uint8Array | undefined} serializeRequest
 * @property {(bytes: Uint8Array) => any} deserializeResponse
 *
 * @typedef {object} Signal
 * @property {SignalName} name
 * @property {string} env part of OTEL_EXPORTER_OTLP_*_ENDPOINT and its like
 * @property {string} path appended to OTEL_EXPORTER_OTLP_ENDPOINT
 * @property {string} method the gRPC method
 * @property {string} rejected the count in its partial success
 * @property {Serializer} protobuf
 * @property {Serializer} json
 */

/** @type {Readonly<Record<SignalName, Signal>>} */
const SIGNALS = Object.freeze({
  logs: {
    name: 'logs',
    env: 'LOGS',
    path: 'v1/logs',
    method: '/opentelemetry.proto.collector.logs.v1.LogsService/Export',
    rejected: 'rejectedLogRecords',
    protobuf: transformer.ProtobufLogsSerializer,
    json: transformer.JsonLogsSerializer,
  },
  traces: {
    name: 'traces',
    env: 'TRACES',
    path: 'v1/traces',
    method: '/opentelemetry.proto.collector.trace.v1.TraceService/Export',
    rejected: 'rejectedSpans',
    protobuf: transformer.ProtobufTraceSerializer,
    json: transformer.JsonTraceSerializer,
  },
  metrics: {
    name: 'metrics',
    env: 'METRICS',
    path: 'v1/metrics',
    method: '/opentelemetry.proto.collector.metrics.v1.MetricsService/Export',
    rejected: 'rejectedDataPoints',
    protobuf: transformer.ProtobufMetricsSerializer,
    json: transformer.JsonMetricsSerializer,
  },
});

module.exports = { SIGNALS };
