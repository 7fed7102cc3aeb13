'use strict';
// A receiver that records: what came, under which batch id, and answers as it is told. Like the server it keeps a named batch once.

const http = require('node:http');
const zlib = require('node:zlib');

/** @param {any} value an AnyValue of OTLP/JSON @returns {any} */
function anyValue(value) {
  if (!value) return undefined;
  if ('arrayValue' in value) return (value.arrayValue.values ?? []).map(anyValue);
  if ('kvlistValue' in value) return attributesOf(value.kvlistValue.values ?? []);
  return Object.values(value)[0];
}

/** @param {any[]} list @returns {Record<string, any>} */
function attributesOf(list) {
  return Object.fromEntries((list ?? []).map(({ key, value }) => [key, anyValue(value)]));
}

class Sink {
  constructor() {
    /** @type {{path: string, id: string, body: any, headers: any}[]} every request, replays too */
    this.requests = [];
    /** @type {Map<string, any>} batch id -> request, the accepted ones */
    this.batches = new Map();
    /** @type {(request: any) => {status?: number, headers?: Record<string, string>, bytes?: Buffer | string} | undefined | null} null: no answer */
    this.answer = () => undefined;
    this.server = http.createServer((request, response) => void this.#take(request, response));
    /** @type {{test: () => boolean, done: (value: any) => void}[]} */
    this.waiting = [];
  }

  /** @param {http.IncomingMessage} request @param {http.ServerResponse} response */
  async #take(request, response) {
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    let bytes = Buffer.concat(chunks);
    if (request.headers['content-encoding'] === 'gzip') bytes = zlib.gunzipSync(bytes);
    const json = request.headers['content-type'] === 'application/json';
    const got = {
      path: request.url ?? '', id: String(request.headers['x-otel-ingest-batch-id']), headers: request.headers, bytes,
      body: json ? JSON.parse(bytes.toString()) : undefined,
    };
    this.requests.push(got);
    const answer = this.answer(got);
    if (answer !== null) {
      const status = answer?.status ?? 200;
      if (status < 300 && got.path !== '/v1/opamp') this.batches.set(got.id, got);
      response.writeHead(status, { 'Content-Type': 'application/json', ...answer?.headers });
      response.end(answer?.bytes ?? '{}');
    }
    this.waiting = this.waiting.filter(({ test, done }) => !test() || done(undefined));
  }

  /** @param {number} [port] */
  async listen(port = 0) {
    await new Promise((resolve) => { this.server.listen(port, '127.0.0.1', () => resolve(undefined)); });
    this.port = /** @type {import('node:net').AddressInfo} */ (this.server.address()).port;
    this.url = `http://127.0.0.1:${this.port}`;
    return this;
  }

  /** Wait until a condition on what came holds. @param {() => boolean} test @param {number} [ms] */
  async until(test, ms = 20_000) {
    if (test()) return;
    await new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`not within ${ms} ms: ${test}; came: ${this.logs().map((r) => r.body).slice(-20).join(' | ')}`)), ms);
      this.waiting.push({ test, done: () => { clearTimeout(timer); resolve(undefined); } });
    });
  }

  /** The accepted log records, plain. @returns {{body: any, severity: number, attributes: Record<string, any>, scope: string, traceId?: string, spanId?: string, resource: any, service: string, time: bigint}[]} */
  logs() {
    return [...this.batches.values()].flatMap(({ body }) => (body?.resourceLogs ?? []).flatMap((/** @type {any} */ group) =>
      group.scopeLogs.flatMap((/** @type {any} */ scope) => scope.logRecords.map((/** @type {any} */ record) => {
        const resource = attributesOf(group.resource.attributes);
        return {
          body: anyValue(record.body), severity: record.severityNumber, attributes: attributesOf(record.attributes), scope: scope.scope.name,
          traceId: record.traceId, spanId: record.spanId, resource, service: resource['service.name'], time: BigInt(record.timeUnixNano),
        };
      })))).sort((a, b) => Number(a.time - b.time));
  }

  /** The accepted spans, plain. */
  spans() {
    return [...this.batches.values()].flatMap(({ body }) => (body?.resourceSpans ?? []).flatMap((/** @type {any} */ group) =>
      group.scopeSpans.flatMap((/** @type {any} */ scope) => scope.spans.map((/** @type {any} */ span) => ({
        ...span, attributes: attributesOf(span.attributes), scope: scope.scope.name, service: attributesOf(group.resource.attributes)['service.name'],
      })))));
  }

  /** The accepted metrics by name. */
  metrics() {
    return [...this.batches.values()].flatMap(({ body }) => (body?.resourceMetrics ?? []).flatMap((/** @type {any} */ group) =>
      group.scopeMetrics.flatMap((/** @type {any} */ scope) => scope.metrics)));
  }

  async close() {
    this.server.closeAllConnections();
    await new Promise((resolve) => { this.server.close(resolve); });
  }
}

/** @param {import('node:test').TestContext} t @param {number} [port] @returns {Promise<Sink & {url: string, port: number}>} */
async function startSink(t, port) {
  const sink = await new Sink().listen(port);
  t.after(() => sink.close());
  return /** @type {any} */ (sink);
}

module.exports = { startSink };
