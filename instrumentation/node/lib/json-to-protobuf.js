'use strict';
// An OTLP/JSON request as protobuf: for what waits on disk since a process that spoke JSON, when this one speaks gRPC.
// By the table of OTLP's own message definitions; what is not in it is left out, as JSON receivers do.

const { Writer } = require('./protobuf');

/** @typedef {(writer: Writer, field: number, value: any) => void} Write */

const hex = /** @type {Write} */ ((w, n, v) => w.bytes(n, Buffer.from(v, 'hex')));
const base64 = /** @type {Write} */ ((w, n, v) => w.bytes(n, Buffer.from(v, 'base64')));
const string = /** @type {Write} */ ((w, n, v) => w.bytes(n, String(v)));
const varint = /** @type {Write} */ ((w, n, v) => w.varint(n, BigInt(v)));
const sint = /** @type {Write} */ ((w, n, v) => w.varint(n, (BigInt(v) << 1n) ^ (BigInt(v) >> 63n)));
const fixed32 = /** @type {Write} */ ((w, n, v) => w.fixed(n, 5, numbers(4, [v], (b, x) => b.writeUInt32LE(Number(x)))));
const fixed64 = /** @type {Write} */ ((w, n, v) => w.fixed(n, 1, numbers(8, [v], write64)));
const double = /** @type {Write} */ ((w, n, v) => w.fixed(n, 1, numbers(8, [v], writeDouble)));
const fixed64s = /** @type {Write} */ ((w, n, v) => w.bytes(n, numbers(8, v, write64)));
const doubles = /** @type {Write} */ ((w, n, v) => w.bytes(n, numbers(8, v, writeDouble)));
const varints = /** @type {Write} */ ((w, n, v) => w.bytes(n, v.reduce((/** @type {Writer} */ all, /** @type {any} */ x) => all.value(BigInt(x)), new Writer()).finish()));

/** @param {Buffer} b @param {any} v @param {number} at */
function write64(b, v, at) {
  b.writeBigUInt64LE(BigInt.asUintN(64, BigInt(v)), at);
}

/** NaN and the infinities are strings in JSON. @param {Buffer} b @param {any} v @param {number} at */
function writeDouble(b, v, at) {
  b.writeDoubleLE(Number(v), at);
}

/** @param {number} size @param {any[]} values @param {(b: Buffer, v: any, at: number) => void} write */
function numbers(size, values, write) {
  const out = Buffer.alloc(size * values.length);
  values.forEach((v, i) => write(out, v, i * size));
  return out;
}

/** @param {string} name of the message in the table below @returns {Write} */
const one = (name) => (w, n, v) => w.bytes(n, encoded(name, v));
/** @param {string} name @returns {Write} */
const each = (name) => (w, n, v) => { for (const item of v) w.bytes(n, encoded(name, item)); };

const ATTRIBUTES = each('KeyValue');
/** @param {string} scopes @param {string} message @returns {Record<string, [number, Write]>} */
const group = (scopes, message) => ({ resource: [1, one('Resource')], [scopes]: [2, each(message)], schemaUrl: [3, string] });
/** @param {string} records @param {string} message @returns {Record<string, [number, Write]>} */
const envelope = (records, message) => ({ scope: [1, one('Scope')], [records]: [2, each(message)], schemaUrl: [3, string] });
/** @type {Record<string, [number, Write]>} */
const POINT = { startTimeUnixNano: [2, fixed64], timeUnixNano: [3, fixed64] };
/** @param {string} points @returns {Record<string, [number, Write]>} */
const kind = (points) => ({ dataPoints: [1, each(points)], aggregationTemporality: [2, varint] });

/** Message: its fields by their JSON names, in OTLP 1.x. @type {Record<string, Record<string, [number, Write]>>} */
const MESSAGES = {
  logs: { resourceLogs: [1, each('ResourceLogs')] },
  traces: { resourceSpans: [1, each('ResourceSpans')] },
  metrics: { resourceMetrics: [1, each('ResourceMetrics')] },
  ResourceLogs: group('scopeLogs', 'ScopeLogs'),
  ResourceSpans: group('scopeSpans', 'ScopeSpans'),
  ResourceMetrics: group('scopeMetrics', 'ScopeMetrics'),
  ScopeLogs: envelope('logRecords', 'LogRecord'),
  ScopeSpans: envelope('spans', 'Span'),
  ScopeMetrics: envelope('metrics', 'Metric'),
  Resource: { attributes: [1, ATTRIBUTES], droppedAttributesCount: [2, varint] },
  Scope: { name: [1, string], version: [2, string], attributes: [3, ATTRIBUTES], droppedAttributesCount: [4, varint] },
  KeyValue: { key: [1, string], value: [2, one('AnyValue')] },
  AnyValue: {
    stringValue: [1, string], boolValue: [2, varint], intValue: [3, varint], doubleValue: [4, double],
    arrayValue: [5, one('ArrayValue')], kvlistValue: [6, one('KeyValueList')], bytesValue: [7, base64],
  },
  ArrayValue: { values: [1, each('AnyValue')] },
  KeyValueList: { values: [1, ATTRIBUTES] },
  LogRecord: {
    timeUnixNano: [1, fixed64], severityNumber: [2, varint], severityText: [3, string], body: [5, one('AnyValue')], attributes: [6, ATTRIBUTES],
    droppedAttributesCount: [7, varint], flags: [8, fixed32], traceId: [9, hex], spanId: [10, hex], observedTimeUnixNano: [11, fixed64], eventName: [12, string],
  },
  Span: {
    traceId: [1, hex], spanId: [2, hex], traceState: [3, string], parentSpanId: [4, hex], name: [5, string], kind: [6, varint],
    startTimeUnixNano: [7, fixed64], endTimeUnixNano: [8, fixed64], attributes: [9, ATTRIBUTES], droppedAttributesCount: [10, varint],
    events: [11, each('Event')], droppedEventsCount: [12, varint], links: [13, each('Link')], droppedLinksCount: [14, varint],
    status: [15, one('Status')], flags: [16, fixed32],
  },
  Event: { timeUnixNano: [1, fixed64], name: [2, string], attributes: [3, ATTRIBUTES], droppedAttributesCount: [4, varint] },
  Link: {
    traceId: [1, hex], spanId: [2, hex], traceState: [3, string], attributes: [4, ATTRIBUTES], droppedAttributesCount: [5, varint], flags: [6, fixed32],
  },
  Status: { message: [2, string], code: [3, varint] },
  Metric: {
    name: [1, string], description: [2, string], unit: [3, string], gauge: [5, one('Gauge')], sum: [7, one('Sum')], histogram: [9, one('Histogram')],
    exponentialHistogram: [10, one('ExponentialHistogram')], summary: [11, one('Summary')], metadata: [12, ATTRIBUTES],
  },
  Gauge: { dataPoints: [1, each('NumberDataPoint')] },
  Sum: { ...kind('NumberDataPoint'), isMonotonic: [3, varint] },
  Histogram: kind('HistogramDataPoint'),
  ExponentialHistogram: kind('ExponentialHistogramDataPoint'),
  Summary: { dataPoints: [1, each('SummaryDataPoint')] },
  NumberDataPoint: {
    ...POINT, asDouble: [4, double], exemplars: [5, each('Exemplar')], asInt: [6, fixed64], attributes: [7, ATTRIBUTES], flags: [8, varint],
  },
  HistogramDataPoint: {
    ...POINT, count: [4, fixed64], sum: [5, double], bucketCounts: [6, fixed64s], explicitBounds: [7, doubles], exemplars: [8, each('Exemplar')],
    attributes: [9, ATTRIBUTES], flags: [10, varint], min: [11, double], max: [12, double],
  },
  ExponentialHistogramDataPoint: {
    ...POINT, attributes: [1, ATTRIBUTES], count: [4, fixed64], sum: [5, double], scale: [6, sint], zeroCount: [7, fixed64], positive: [8, one('Buckets')],
    negative: [9, one('Buckets')], flags: [10, varint], exemplars: [11, each('Exemplar')], min: [12, double], max: [13, double], zeroThreshold: [14, double],
  },
  Buckets: { offset: [1, sint], bucketCounts: [2, varints] },
  SummaryDataPoint: {
    ...POINT, count: [4, fixed64], sum: [5, double], quantileValues: [6, each('ValueAtQuantile')], attributes: [7, ATTRIBUTES], flags: [8, varint],
  },
  ValueAtQuantile: { quantile: [1, double], value: [2, double] },
  Exemplar: {
    timeUnixNano: [2, fixed64], asDouble: [3, double], spanId: [4, hex], traceId: [5, hex], asInt: [6, fixed64], filteredAttributes: [7, ATTRIBUTES],
  },
};

/** @param {string} name @param {any} value @returns {Buffer} */
function encoded(name, value) {
  const writer = new Writer();
  const known = MESSAGES[name];
  for (const [key, inner] of Object.entries(value ?? {})) {
    const field = Object.hasOwn(known, key) ? known[key] : undefined;
    if (field && inner !== null && inner !== undefined) field[1](writer, field[0], inner);
  }
  return writer.finish();
}

/**
 * @param {import('./signals').SignalName} signal @param {Uint8Array} body OTLP/JSON
 * @returns {Buffer}
 * @throws {SyntaxError | TypeError | RangeError} when it is no such request
 */
function jsonToProtobuf(signal, body) {
  return encoded(signal, JSON.parse(Buffer.from(body).toString()));
}

module.exports = { jsonToProtobuf };
