'use strict';
// X-Trace-Log: whose wish counts, what it brings, how far it travels, and what it leaves alone.

const assert = require('node:assert/strict');
const grpc = require('@grpc/grpc-js');
const { test } = require('node:test');
const { ROOT_CONTEXT, defaultTextMapGetter, defaultTextMapSetter, propagation, trace } = require('@opentelemetry/api');
const { CompositePropagator, W3CBaggagePropagator, W3CTraceContextPropagator } = require('@opentelemetry/core');
const { traceToken } = require('..');
const { Levels, VERBOSE } = require('../lib/levels');
const { Verbose, VerbosePropagator, signToken, verboseSampler } = require('../lib/verbose');
const { startSink } = require('./help/sink');
const { runApp } = require('./help/app');

const SECRET = 'correct horse';
const VECTOR = 'v1.4102444800.EmLc5MiayPquRYx-5iX8xc09taI_jZ-f23pGPw6FRPA'; // of docs/x-trace-log.md
const W3C = () => new CompositePropagator({ propagators: [new W3CTraceContextPropagator(), new W3CBaggagePropagator()] });

/** @param {object} [options] */
function setUp(options = {}) {
  const levels = new Levels();
  const verbose = new Verbose({ header: 'token', secret: SECRET, recordsMax: 3, hosts: [], now: () => 4102440000_000, ...options }, levels);
  const propagator = new VerbosePropagator(verbose, W3C());
  const extract = (/** @type {any} */ carrier) => propagator.extract(ROOT_CONTEXT, carrier, defaultTextMapGetter);
  const inject = (/** @type {any} */ ctx) => { const carrier = {}; propagator.inject(ctx, carrier, defaultTextMapSetter); return carrier; };
  return { levels, verbose, extract, inject };
}

test('only a token that is signed, in time and not for ever counts', () => {
  const { verbose } = setUp();

  assert.equal(signToken(SECRET, 4102444800), VECTOR);
  assert.equal(verbose.valid(VECTOR), true);
  for (const wrong of ['true', '', undefined, VECTOR.slice(0, -1), `${VECTOR}A`, VECTOR.replace('E', 'F'), VECTOR.replace('4102444800', '4102444801'),
    signToken('other', 4102444800), signToken(SECRET, 4102440000), signToken(SECRET, 4102440000 + 86401), `v2${VECTOR.slice(2)}`]) {
    assert.equal(verbose.valid(wrong), false, String(wrong));
  }
  assert.equal(setUp({ header: 'open' }).verbose.valid('True'), true);
  assert.equal(setUp({ header: 'off' }).verbose.valid(VECTOR), false);
  assert.equal(setUp({ now: () => 4102444801_000 }).verbose.valid(VECTOR), false);
});

test('a token made here is good here', () => {
  const { verbose } = setUp({ now: Date.now });

  assert.ok(verbose.valid(traceToken(SECRET, 600)));
});

test('header or baggage mark the context, and both travel on', () => {
  for (const carrier of [{ 'x-trace-log': VECTOR }, { baggage: `user=7,x-trace-log=${VECTOR}` }]) {
    const { extract, inject, levels } = setUp();
    const ctx = extract(carrier);

    assert.ok(ctx.getValue(VERBOSE));
    assert.ok(levels.verbose);
    const sent = /** @type {any} */ (inject(ctx));
    assert.equal(sent['x-trace-log'], VECTOR);
    assert.match(sent.baggage, new RegExp(`x-trace-log=${VECTOR.replaceAll('.', '\\.')}`));
  }
});

test('a wish that does not count is taken out, and the rest of the baggage stays', () => {
  const { extract, inject, levels } = setUp();
  const ctx = extract({ 'x-trace-log': 'true', baggage: 'user=7,x-trace-log=true' });

  assert.equal(ctx.getValue(VERBOSE), undefined);
  assert.deepEqual(inject(ctx), { baggage: 'user=7' });
  assert.equal(levels.verbose, false);
});

test('strangers do not learn of it', () => {
  const { extract, inject } = setUp();
  const { inject: injectListed } = setUp({ hosts: ['partner.example', '*.our.example'] });
  const marked = extract({ 'x-trace-log': VECTOR, baggage: 'user=7' });
  const to = (/** @type {any} */ attributes) => trace.setSpan(marked, /** @type {any} */ ({ attributes, spanContext: () => ({ traceId: '0', spanId: '0', traceFlags: 0 }) }));
  const far = [{ 'server.address': 'api.stripe.com' }, { 'url.full': 'https://93.184.216.34/x' }, { 'http.url': 'https://evil.localhost.example.org/' }];
  const near = [{ 'server.address': '127.0.0.1' }, { 'server.address': 'payments' }, { 'url.full': 'http://10.2.3.4:80/' }, { 'server.address': 'a.b.svc.cluster.local' },
    { 'url.full': 'http://[::1]:8/' }, {}];

  for (const attributes of far) assert.deepEqual(inject(to(attributes)), { baggage: 'user=7' }, JSON.stringify(attributes));
  for (const attributes of near) assert.equal(/** @type {any} */ (inject(to(attributes)))['x-trace-log'], VECTOR, JSON.stringify(attributes));
  assert.ok('x-trace-log' in injectListed(to({ 'server.address': 'a.our.example' })));
  assert.ok(!('x-trace-log' in injectListed(to({ 'server.address': 'payments' }))));
});

test('its spans are recorded whatever the sampler says', () => {
  const { extract } = setUp();
  const sampler = verboseSampler({ shouldSample: () => ({ decision: 0 }) });

  assert.equal(sampler.shouldSample(extract({ 'x-trace-log': VECTOR })).decision, 2);
  assert.equal(sampler.shouldSample(ROOT_CONTEXT).decision, 0);
  assert.equal(propagation.getBaggage(ROOT_CONTEXT), undefined);
});

/** @param {any} t @param {any} sink @param {string} app @param {Record<string, string>} env @param {string[]} args */
async function service(t, sink, app, env, args) {
  const started = runApp(t, app, { sink: sink.url, env, args });
  return { started, url: `http://127.0.0.1:${(await started.says(/port (\d+)/))[1]}` };
}

test('through two services: every level of that one request, nothing of the others, and their output as ever', async (t) => {
  const sink = await startSink(t);
  const env = { OTEL_INGEST_CLIENT_TRACE_SECRET: SECRET, OTEL_TRACES_SAMPLER: 'always_off' };
  const c = await service(t, sink, 'chain.js', { ...env, OTEL_SERVICE_NAME: 'c' }, ['c']);
  const b = await service(t, sink, 'chain.js', { ...env, OTEL_SERVICE_NAME: 'b' }, ['b', c.url]);
  const ask = (/** @type {Record<string, string>} */ headers) => fetch(`${b.url}/go`, { headers }).then((r) => r.text());
  const token = traceToken(SECRET, 600);
  const answers = await Promise.all([ask({}), ask({ 'x-trace-log': 'true' }), ask({ 'X-Trace-Log': token }), ask({ 'x-trace-log': `${token.slice(0, -1)}_` }), ask({})]);
  assert.deepEqual(answers, Array(5).fill('bc'));
  await sink.until(() => sink.logs().filter((r) => / ends$/.test(r.body)).length === 10);
  for (const { started } of [b, c]) {
    started.child.kill('SIGTERM');
    await started.ended;
    assert.doesNotMatch(started.stdout, / trace"| debug"|winston debug/, 'the own output does not see them');
  }

  for (const name of ['b', 'c']) {
    const below = sink.logs().filter((r) => r.service === name && r.severity < 9);
    assert.deepEqual(below.map((r) => [r.severity, r.body, r.scope]).sort(), [
      [1, `${name} trace`, `chain.${name}`], [5, `${name} debug`, `chain.${name}`], [5, `${name} winston debug`, `chain.${name}.winston`], [5, `${name} console debug`, 'console'],
    ].sort());
    assert.equal(new Set(below.map((r) => r.traceId)).size, 1);
  }
  const [traceId] = new Set(sink.logs().filter((r) => r.severity < 9).map((r) => r.traceId));
  assert.ok(sink.spans().length > 0);
  assert.deepEqual([...new Set(sink.spans().map((s) => s.traceId))], [traceId], 'only its spans, though the sampler is off');
  assert.ok(!JSON.stringify(sink.requests.map((r) => r.body)).includes(token), 'the token itself is no telemetry');
});

test('through gRPC: metadata carry the wish from service to service, and none of the others', async (t) => {
  const sink = await startSink(t);
  const env = { OTEL_INGEST_CLIENT_TRACE_SECRET: SECRET };
  const back = await service(t, sink, 'grpc.js', { ...env, OTEL_SERVICE_NAME: 'back' }, ['back']);
  const front = await service(t, sink, 'grpc.js', { ...env, OTEL_SERVICE_NAME: 'front' }, ['front', back.url.slice('http://'.length)]);
  const client = new grpc.Client(front.url.slice('http://'.length), grpc.credentials.createInsecure());
  const asIs = (/** @type {Buffer} */ bytes) => bytes;
  const ask = (/** @type {string} */ number, /** @type {string | undefined} */ wish) => new Promise((resolve, reject) => {
    const metadata = new grpc.Metadata();
    if (wish) metadata.set('x-trace-log', wish);
    client.makeUnaryRequest('/shop.Stock/Take', asIs, asIs, Buffer.from(number), metadata, {}, (/** @type {any} */ error, /** @type {any} */ answer) => {
      if (error) reject(error); else resolve(String(answer));
    });
  });
  const token = traceToken(SECRET, 600);
  t.after(() => client.close());

  assert.deepEqual(await Promise.all([ask('0'), ask('1', 'true'), ask('2', token), ask('3', `${token.slice(0, -1)}_`)]), ['0', '1', '2', '3']);
  await sink.until(() => sink.logs().filter((r) => r.severity === 9).length === 8);
  for (const { started } of [front, back]) {
    started.child.kill('SIGTERM');
    await started.ended;
  }
  const below = sink.logs().filter((r) => r.severity < 9);
  assert.deepEqual(below.map((r) => r.body).sort(), ['back debug 2', 'back trace 2', 'front debug 2', 'front trace 2']);
  assert.equal(new Set(below.map((r) => r.traceId)).size, 1);
});

test('off when nothing is set', async (t) => {
  const sink = await startSink(t);
  const b = await service(t, sink, 'chain.js', {}, ['b']);
  await fetch(`${b.url}/go`, { headers: { 'x-trace-log': 'true', baggage: 'x-trace-log=true' } });
  await sink.until(() => sink.logs().some((r) => r.body === 'b ends'));

  assert.deepEqual(sink.logs().filter((r) => r.severity < 9), []);
});

test('one request may not flood: the record behind the last says so', async (t) => {
  const sink = await startSink(t);
  const app = runApp(t, `
    const log = require_('pino')({}, { write() {} });
    const server = require('node:http').createServer((q, r) => { for (let i = 0; i < 100; i++) log.debug('record %d', i); log.info('done'); r.end('x'); });
    server.listen(0, '127.0.0.1', () => console.info('port ' + server.address().port));`,
  { sink: sink.url, env: { OTEL_INGEST_CLIENT_TRACE_HEADER: 'open', OTEL_INGEST_CLIENT_TRACE_RECORDS: '10' } });
  await fetch(`http://127.0.0.1:${(await app.says(/port (\d+)/))[1]}/`, { headers: { 'x-trace-log': 'true' } });
  await sink.until(() => sink.logs().some((r) => r.body === 'done'));

  assert.equal(sink.logs().filter((r) => /^record/.test(r.body)).length, 10);
  assert.equal(sink.logs().filter((r) => /^X-Trace-Log: 10 records below/.test(r.body)).length, 1);
});
