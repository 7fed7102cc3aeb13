'use strict';
// Every way in which a process ends, with the receiver there and away: nothing is lost, and it ends as without us.

const assert = require('node:assert/strict');
const fs = require('node:fs');
const { test } = require('node:test');
const { startSink } = require('./help/sink');
const { filesUnder, runApp, temporary } = require('./help/app');

const LOG_500 = `
  const log = require_('pino')({}, require('node:fs').createWriteStream('/dev/null'));
  const meter = require_('@opentelemetry/api').metrics.getMeter('m');
  const ended = meter.createCounter('ended');
  meter.createObservableGauge('seen').addCallback((result) => result.observe(n, { of: 'records' }));
  let n = 0;
  const timer = setInterval(() => { for (let i = 0; i < 25 && n < 500; i++) log.info('record %d', n++); if (n >= 500) { clearInterval(timer); ended.add(5); end(); } }, 10);
`;
const DOWN = 'http://127.0.0.1:9'; // nobody listens there

/** @param {import('./help/sink').startSink extends (...a: any) => Promise<infer S> ? S : never} sink */
function numbers(sink) {
  return sink.logs().map((r) => /^record (\d+)$/.exec(r.body)?.[1]).filter(Boolean).map(Number).sort((a, b) => a - b);
}

/** The last interval's metrics, one value each. @param {any} sink */
function lastMetrics(sink) {
  const of = (/** @type {string} */ name) => sink.metrics().filter((/** @type {any} */ m) => m.name === name).flatMap((/** @type {any} */ m) => (m.sum ?? m.gauge).dataPoints);
  return { ended: of('ended').map((/** @type {any} */ p) => p.asDouble ?? Number(p.asInt)), seen: of('seen').map((/** @type {any} */ p) => p.asDouble ?? Number(p.asInt)) };
}

const ALL = [...Array(500).keys()];

for (const [name, end, code, signal] of /** @type {[string, string, number | null, string | null][]} */ ([
  ['the natural end', '', 0, null],
  ['process.exit', 'process.exit(7)', 7, null],
  ['process.exitCode', 'process.exitCode = 9', 9, null],
  ['an uncaught exception', "throw new TypeError('dead')", 1, null],
  ['an unhandled rejection', "Promise.reject(new Error('dead'))", 1, null],
  ['SIGTERM, default action', "process.kill(process.pid, 'SIGTERM'); setInterval(() => {}, 1000)", null, 'SIGTERM'],
  ['SIGINT, default action', "process.kill(process.pid, 'SIGINT'); setInterval(() => {}, 1000)", null, 'SIGINT'],
])) {
  test(`${name}: all records arrive at once, and the code is node's own`, async (t) => {
    const sink = await startSink(t);
    const app = runApp(t, `${LOG_500} function end() { ${end} }`, { sink: sink.url });

    assert.deepEqual(await app.ended, { code, signal }, app.stderr);
    assert.deepEqual(numbers(sink), ALL);
    assert.deepEqual(lastMetrics(sink), { ended: [5], seen: [500] });
    assert.equal(new Set(sink.requests.map((r) => r.id)).size, sink.requests.length, 'a batch was sent twice');
    assert.deepEqual(filesUnder(app.spool), []);
  });
}

for (const [name, end, expected] of /** @type {[string, string, any][]} */ ([
  ['the natural end', '', { code: 0, signal: null }],
  ['process.exit', 'process.exit(7)', { code: 7, signal: null }],
  ['SIGTERM', "process.kill(process.pid, 'SIGTERM'); setInterval(() => {}, 1000)", { code: null, signal: 'SIGTERM' }],
])) {
  test(`${name} while the receiver is away: quick, kept on disk, and sent by the next process`, async (t) => {
    const app = runApp(t, `${LOG_500} function end() { globalThis.at = Date.now(); process.stdout.write('end ' + Date.now() + '\\n'); ${end} }`, { sink: DOWN });
    const ended = await app.ended;
    const took = Date.now() - Number((await app.says(/end (\d+)/))[1]);

    assert.deepEqual(ended, expected, app.stderr);
    assert.ok(took < 5000, `it took ${took} ms to end`);
    const files = filesUnder(app.spool);
    assert.ok(files.length > 0);
    for (const file of files) assert.equal(fs.statSync(file).mode & 0o777, 0o600, file);

    const sink = await startSink(t);
    const next = runApp(t, "setInterval(() => {}, 1000); console.log('up')", { sink: sink.url, spool: app.spool });
    await sink.until(() => numbers(sink).length >= 500);
    next.child.kill('SIGTERM');
    await next.ended;

    assert.deepEqual(numbers(sink), ALL);
    assert.deepEqual(lastMetrics(sink), { ended: [5], seen: [500] });
    assert.deepEqual(filesUnder(app.spool), []);
  });
}

test('a receiver that never answers holds the end up for two seconds, not more', async (t) => {
  const sink = await startSink(t);
  sink.answer = () => null;
  const app = runApp(t, `${LOG_500} function end() { process.stdout.write('end ' + Date.now() + '\\n'); process.exit(3); }`, { sink: sink.url });
  const ended = await app.ended;
  const took = Date.now() - Number((await app.says(/end (\d+)/))[1]);

  assert.deepEqual(ended, { code: 3, signal: null });
  assert.ok(took < 5000, `it took ${took} ms to end`);
  assert.ok(filesUnder(app.spool).length > 0);
});

test("an application's own SIGTERM handler decides", async (t) => {
  const sink = await startSink(t);
  const app = runApp(t, `${LOG_500}
    process.on('SIGTERM', () => setTimeout(() => { log.info('record 500'); process.exit(0); }, 100));
    function end() { process.kill(process.pid, 'SIGTERM'); }`, { sink: sink.url });

  assert.deepEqual(await app.ended, { code: 0, signal: null });
  assert.deepEqual(numbers(sink), [...ALL, 500]);
});

test('what is logged in the application\'s own exit handler is seen', async (t) => {
  const sink = await startSink(t);
  const app = runApp(t, `${LOG_500} process.on('exit', () => log.info('record 500')); function end() {}`, { sink: sink.url });

  assert.deepEqual(await app.ended, { code: 0, signal: null });
  assert.deepEqual(numbers(sink), [...ALL, 500]);
});

test('records of megabytes wait in bounded memory, and arrive', async (t) => {
  const sink = await startSink(t);
  const app = runApp(t, `
    const log = require_('pino')({}, { write() {} });
    for (let n = 0; n < 100; n++) log.info({ big: 'x'.repeat(500_000) }, 'record %d', n);
    console.log('rss ' + Math.round(process.memoryUsage().rss / 1e6));`, { sink: sink.url });

  assert.deepEqual(await app.ended, { code: 0, signal: null });
  assert.equal(numbers(sink).length + filesUnder(app.spool).reduce((sum, file) => sum + Number(/-logs-(\d+)-/.exec(file)?.[1]), 0), 100);
  assert.ok(sink.requests.filter((r) => r.path === '/v1/logs').every((r) => JSON.stringify(r.body).length < 8e6));
});

test('SIGKILL with spool=always: what was encoded is on disk', async (t) => {
  const spool = temporary(t);
  const app = runApp(t, `
    const log = require_('pino')({}, require('node:fs').createWriteStream('/dev/null'));
    let n = 0;
    setInterval(() => { log.info('record %d', n++); process.stdout.write(n + '\\n'); }, 5);`, { sink: DOWN, spool, env: { OTEL_INGEST_CLIENT_SPOOL: 'always' } });
  await app.says(/^300$/m);
  app.child.kill('SIGKILL');
  await app.ended;
  const logged = Math.max(...app.stdout.split('\n').map(Number));

  const sink = await startSink(t);
  const next = runApp(t, 'setInterval(() => {}, 1000)', { sink: sink.url, spool });
  await sink.until(() => numbers(sink).length >= logged - 150);
  next.child.kill('SIGTERM');
  await next.ended;
  const kept = numbers(sink);
  // 200 ms at 200 a second are 40; the machine may be busy.
  assert.ok(kept.length >= logged - 150, `${kept.length} of ${logged}`);
  assert.deepEqual(kept, [...Array(kept.length).keys()]);
});

test('a burst that leaves the event loop no turn: nothing is dropped', async (t) => {
  const sink = await startSink(t);
  const app = runApp(t, `
    const log = require_('pino')({}, { write() {} });
    for (let n = 0; n < 50000; n++) log.info('record %d', n);`, { sink: sink.url, env: { OTEL_INGEST_CLIENT_MEMORY_MB: '1' } });

  assert.deepEqual(await app.ended, { code: 0, signal: null });
  const spooled = filesUnder(app.spool).map((file) => Number(/-logs-(\d+)-/.exec(file)?.[1] ?? 0)).reduce((a, b) => a + b, 0);
  assert.equal(numbers(sink).length + spooled, 50_000);
  assert.ok(spooled > 0, 'one megabyte of memory was to overflow');
});
