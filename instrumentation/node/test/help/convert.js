'use strict';
// One request of each signal with every kind of value, as JSON made protobuf and as OpenTelemetry makes it: hexadecimal, for the test
// that compares them by their messages (tests/e2e/test_client_transport.py).

const { JsonLogsSerializer, JsonTraceSerializer, JsonMetricsSerializer, ProtobufLogsSerializer, ProtobufTraceSerializer,
  ProtobufMetricsSerializer } = require('@opentelemetry/otlp-transformer');
const { resourceFromAttributes } = require('@opentelemetry/resources');
const { jsonToProtobuf } = require('../../lib/json-to-protobuf');
const resource = resourceFromAttributes({ 'service.name': 'shop', list: ['a', 'b'], n: -7, x: 0.5, ok: false, empty: '' });
const instrumentationScope = { name: 'scope', version: '1', schemaUrl: 'https://x' };
const context = { traceId: '0af7651916cd43dd8448eb211c80319c', spanId: 'b7ad6b7169203331', traceFlags: 1 };
const attributes = { big: 2 ** 53, negative: -1, text: 'grüße \u{1f600}', list: [1, 2], no: 0 };
const logs = [{ hrTime: [1700000000, 123456789], hrTimeObserved: [1700000001, 1], spanContext: context, severityNumber: 9, severityText: 'INFO',
  body: { nested: { deep: [1, 'two', 3.5, true, null] }, bytes: new Uint8Array([0, 255, 1]) }, attributes, droppedAttributesCount: 2, eventName: 'e',
  resource, instrumentationScope }];
const spans = [{ name: 'span', kind: 2, spanContext: () => context, parentSpanContext: { ...context, spanId: '00f067aa0ba902b7', isRemote: true },
  startTime: [1700000000, 1], endTime: [1700000000, 2], status: { code: 2, message: 'bad' }, attributes, duration: [0, 1], ended: true, resource,
  instrumentationScope, events: [{ name: 'event', time: [1700000000, 1], attributes, droppedAttributesCount: 1 }],
  links: [{ context, attributes, droppedAttributesCount: 3 }], droppedAttributesCount: 4, droppedEventsCount: 5, droppedLinksCount: 6 }];
const point = (value) => ({ startTime: [1700000000, 0], endTime: [1700000060, 0], attributes, value });
const metric = (dataPointType, value, more = {}) => ({ descriptor: { name: 'm' + dataPointType, unit: 'By', description: 'd', valueType: 1, ...more.descriptor },
  aggregationTemporality: 1, dataPointType, isMonotonic: true, dataPoints: [point(value)] });
const metrics = { resource, scopeMetrics: [{ scope: instrumentationScope, metrics: [
  metric(3, 1.5), metric(3, -3, { descriptor: { valueType: 0 } }), metric(2, 7),
  metric(0, { buckets: { boundaries: [0, 5, 10.5], counts: [1, 2, 0, 300] }, sum: -1.5, count: 303, min: -9, max: 11 }),
  metric(1, { scale: -2, zeroCount: 3, count: 500, sum: 12.5, min: 0, max: 9, positive: { offset: -3, bucketCounts: [1, 300, 0] },
    negative: { offset: 4, bucketCounts: [] } }) ] }] };
const out = {};
for (const [name, json, protobuf, items] of [['logs', JsonLogsSerializer, ProtobufLogsSerializer, logs],
  ['traces', JsonTraceSerializer, ProtobufTraceSerializer, spans], ['metrics', JsonMetricsSerializer, ProtobufMetricsSerializer, metrics]]) {
  out[name] = [jsonToProtobuf(name, json.serializeRequest(items)), protobuf.serializeRequest(items)].map((b) => Buffer.from(b).toString('hex'));
}
process.stdout.write(JSON.stringify(out));
