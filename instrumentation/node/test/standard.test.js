'use strict';
// The standard's variables keep their meaning; ES modules, worker threads, and other ways to start.

const assert = require('node:assert/strict');
const fs = require('node:fs');
const path = require('node:path');
const { test } = require('node:test');
const { countProtobuf } = require('../lib/split');
const { proxyFor } = require('../lib/proxy');
const { startSink } = require('./help/sink');
const { PACKAGE, runApp, temporary } = require('./help/app');

const ONE = "require_('pino')({}, { write() {} }).info('one'); require_('@opentelemetry/api').trace.getTracer('t').startSpan('s').end();";

test('protobuf is the default, gzip and headers are as set, each signal to its own endpoint', async (t) => {
  const sink = await startSink(t);
  const other = await startSink(t);
  const app = runApp(t, ONE, {
    sink: sink.url,
    env: {
      OTEL_EXPORTER_OTLP_PROTOCOL: '', OTEL_EXPORTER_OTLP_COMPRESSION: 'gzip', OTEL_EXPORTER_OTLP_HEADERS: 'authorization=Bearer%20T0K',
      OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: `${other.url}/own/path`,
    },
  });
  assert.equal((await app.ended).code, 0, app.stderr);

  const [logs] = sink.requests.filter((r) => r.path === '/v1/logs');
  assert.deepEqual([logs.headers['content-type'], logs.headers['content-encoding'], logs.headers.authorization], ['application/x-protobuf', 'gzip', 'Bearer T0K']);
  assert.match(logs.id, /^[0-9a-f-]{36}$/);
  assert.equal(countProtobuf(/** @type {any} */ (logs).bytes), 1);
  assert.deepEqual(other.requests.map((r) => r.path), ['/own/path']);
});

test('a declarative configuration is not read, which is said in one loud line; everything works by the variables', async (t) => {
  const sink = await startSink(t);
  const app = runApp(t, ONE, { sink: sink.url, env: { OTEL_CONFIG_FILE: '/nowhere/otel.yaml' } });
  assert.equal((await app.ended).code, 0, app.stderr);

  assert.match(app.stderr, /CRITICAL[^\n]*OTEL_CONFIG_FILE is not read here/);
  assert.equal(app.stderr.split('\n').filter((line) => line.includes('OTEL_CONFIG_FILE')).length, 1);
  assert.equal(sink.logs().length, 1);
});

test('none, console and unknown exporters; limits; resource attributes', async (t) => {
  const sink = await startSink(t);
  const app = runApp(t, `${ONE} require_('pino')({}, { write() {} }).info({ long: 'x'.repeat(100) }, 'two token=abc123');`, {
    sink: sink.url,
    env: {
      OTEL_TRACES_EXPORTER: 'none', OTEL_LOGS_EXPORTER: 'console,otlp,strange', OTEL_LOGRECORD_ATTRIBUTE_VALUE_LENGTH_LIMIT: '10',
      OTEL_RESOURCE_ATTRIBUTES: 'service.instance.id=mine,deployment.environment.name=test', OTEL_LOG_LEVEL: 'warn',
    },
  });
  assert.equal((await app.ended).code, 0, app.stderr);

  assert.deepEqual(sink.spans(), []);
  assert.deepEqual(sink.logs().map((r) => r.body), ['one', 'two token=[REDACTED]']);
  assert.equal(sink.logs()[1].attributes.long, 'x'.repeat(10));
  assert.equal(sink.logs()[0].resource['service.instance.id'], 'mine');
  assert.equal(sink.logs()[0].resource['deployment.environment.name'], 'test');
  assert.match(app.stdout, /token=\[REDACTED\]/);
  assert.doesNotMatch(app.stdout, /abc123/);
  assert.match(app.stderr, /there is no exporter "strange"/);
});

test('ES modules by --import: pino, winston, spans of express', async (t) => {
  const sink = await startSink(t);
  const file = path.join(PACKAGE, 'test', 'apps', 'esm.mjs');
  assert.ok(fs.existsSync(file));
  const app = runApp(t, 'esm.mjs', { sink: sink.url, esm: true });
  assert.equal((await app.ended).code, 0, app.stderr);

  assert.deepEqual(sink.logs().map((r) => [r.scope, r.body, Boolean(r.traceId)]), [['esm', 'in a request', true], ['winston', 'in a request', true]]);
  assert.ok(sink.spans().some((s) => s.name === 'GET /hello'), sink.spans().map((s) => s.name).join());
});

test('a worker thread has its own, and its end loses nothing', async (t) => {
  const sink = await startSink(t);
  const app = runApp(t, `
    const { Worker, isMainThread } = require('node:worker_threads');
    const log = require_('pino')({}, { write() {} });
    if (isMainThread) {
      log.info('main');
      new Worker(__filename).on('exit', () => log.info('thread over'));
    } else for (let i = 0; i < 100; i++) log.info('thread ' + i);`, { sink: sink.url });
  assert.equal((await app.ended).code, 0, app.stderr);

  assert.equal(sink.logs().filter((r) => /^thread \d+$/.test(r.body)).length, 100);
  assert.deepEqual(sink.logs().filter((r) => ['main', 'thread over'].includes(r.body)).length, 2);
});

test('start() in code does the same, once', async (t) => {
  const sink = await startSink(t);
  const app = runApp(t, `
    const { start } = require(${JSON.stringify(PACKAGE)});
    const both = [start(), start()];
    console.log('started', ...both);
    require_('pino')({}, { write() {} }).info('one');`, { sink: sink.url, env: { NODE_OPTIONS: '' } });
  assert.equal((await app.ended).code, 0, app.stderr);

  assert.match(app.stdout, /started true true/);
  assert.deepEqual(sink.logs().map((r) => r.body), ['started true true', 'one']);
});

test('what was lost is told as a record when the receiver is back, and as a metric', async (t) => {
  const sink = await startSink(t);
  sink.answer = () => ({ status: 503 });
  const app = runApp(t, `
    const log = require_('pino')({}, { write() {} });
    for (let n = 0; n < 20000; n++) log.info('record %d', n);
    setInterval(() => log.info('tick'), 50);`, {
    sink: sink.url, spool: temporary(t), env: { OTEL_INGEST_CLIENT_SPOOL: 'off', OTEL_INGEST_CLIENT_MEMORY_MB: '1', OTEL_METRIC_EXPORT_INTERVAL: '500' },
  });
  await sink.until(() => sink.requests.length >= 2);
  sink.answer = () => undefined;
  await sink.until(() => sink.logs().some((r) => /^lost \d+ logs/.test(r.body)));
  await sink.until(() => sink.metrics().some((m) => m.name === 'otel_ingest.client.lost'));
  app.child.kill('SIGTERM');
  await app.ended;

  const lost = sink.logs().filter((r) => /^lost/.test(r.body)).reduce((sum, r) => sum + r.attributes['otel_ingest.lost.count'], 0);
  assert.equal(lost + sink.logs().filter((r) => /^record/.test(r.body)).length, 20_000);
  assert.match(app.stderr, /CRITICAL .*no room in memory/);
});

test('who is behind a proxy: by scheme, NO_PROXY by host, domain and port, the loopback never', () => {
  const env = { HTTP_PROXY: 'upper:1', http_proxy: 'http://lower:2', HTTPS_PROXY: 'https://u:p@secure:3', NO_PROXY: 'one.test, .two.test *.three.test,four.test:8443' };
  const of = (/** @type {string} */ url) => proxyFor(new URL(url), env)?.host;
  assert.deepEqual(['http://a.test', 'https://a.test'].map(of), ['lower:2', 'secure:3']);
  assert.deepEqual(['http://one.test', 'http://x.one.test', 'http://two.test', 'https://b.two.test', 'http://x.three.test', 'https://four.test:8443'].map(of), Array(6).fill(undefined));
  assert.deepEqual(['https://four.test', 'http://notone.test'].map(of), ['secure:3', 'lower:2']);
  assert.deepEqual(['http://localhost:1', 'http://127.0.0.9', 'http://[::1]:4318'].map(of), Array(3).fill(undefined));
  assert.equal(proxyFor(new URL('http://a.test'), { HTTP_PROXY: 'upper:1', NO_PROXY: '*' }), undefined);
  assert.equal(proxyFor(new URL('http://a.test'), {}), undefined);
});
