'use strict';
// The ends of the SDK's three pipelines: each hands what it gets to a Pipeline or to delivery, and waits for nothing.

const { TraceFlags, diag } = require('@opentelemetry/api');
const { OTLPMetricExporterBase } = require('@opentelemetry/exporter-metrics-otlp-http');
const { newBatch } = require('./batch');
const { SIGNALS } = require('./signals');

/** The application called us: no error of ours is its concern. @param {() => void} work */
function safely(work) {
  try {
    work();
  } catch (error) {
    diag.error('otel-ingest: a record was not taken', error);
  }
}

class LogProcessor {
  /** @param {import('./pipeline').Pipeline} pipeline */
  constructor(pipeline) {
    this.pipeline = pipeline;
  }

  /** @param {any} record */
  onEmit(record) {
    safely(() => this.pipeline.add(record));
  }

  async forceFlush() {
    this.pipeline.flushSync();
  }

  async shutdown() {
    this.pipeline.flushSync();
  }
}

class SpanProcessor {
  /** @param {import('./pipeline').Pipeline} pipeline */
  constructor(pipeline) {
    this.pipeline = pipeline;
  }

  onStart() {}

  /** @param {import('@opentelemetry/sdk-node').tracing.ReadableSpan} span */
  onEnd(span) {
    if (span.spanContext().traceFlags & TraceFlags.SAMPLED) safely(() => this.pipeline.add(span));
  }

  async forceFlush() {
    this.pipeline.flushSync();
  }

  async shutdown() {
    this.pipeline.flushSync();
  }
}

/**
 * A metric exporter with the SDK's own choice of temporality and aggregation.
 * @param {import('./delivery').Delivery} delivery @param {'protobuf' | 'json'} encoding @param {(metrics: any) => any} redact
 */
function metricExporter(delivery, encoding, redact) {
  /** @type {any} */
  const delegate = {
    export(/** @type {any} */ metrics, /** @type {(result: {code: number, error?: Error}) => void} */ done) {
      try {
        const body = SIGNALS.metrics[encoding].serializeRequest(redact(metrics));
        let points = 0;
        for (const scope of metrics.scopeMetrics) for (const metric of scope.metrics) points += metric.dataPoints.length;
        if (body && points) delivery.add(newBatch('metrics', encoding, body, points));
        done({ code: 0 });
      } catch (error) {
        done({ code: 1, error: /** @type {Error} */ (error) });
      }
    },
    forceFlush: async () => {},
    shutdown: async () => {},
  };
  return new OTLPMetricExporterBase(delegate, {});
}

module.exports = { LogProcessor, SpanProcessor, metricExporter };
