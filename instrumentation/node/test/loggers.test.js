'use strict';
// pino, winston and the console in real processes: what reaches the store, and that the application's own output stays as it was.

const assert = require('node:assert/strict');
const { test } = require('node:test');
const { startSink } = require('./help/sink');
const { runApp } = require('./help/app');

/** @param {any} t @param {string} code @param {Record<string, string>} [env] */
async function logged(t, code, env) {
  const sink = await startSink(t);
  const app = runApp(t, code, { sink: sink.url, env });
  const { code: status } = await app.ended;
  assert.equal(status, 0, app.stderr);
  return { sink, app, records: sink.logs() };
}

/** @param {any[]} records */
const brief = (records) => records.map(({ scope, severity, body }) => [scope, severity, body]);

test('pino: names, levels, children, serializers, and the exception taken apart', async (t) => {
  const { records, app } = await logged(t, `
    const log = require_('pino')({ name: 'shop', serializers: { user: (u) => u.id } });
    log.info({ order: { id: 5, tags: ['a', 'b'] }, user: { id: 7, mail: 'x' } }, 'order %s', 'made');
    log.child({ name: 'shop.db', table: 'orders' }).warn('slow');
    log.error(new TypeError('bad input'), 'failed');
    log.debug('not wanted');
    log.fatal('over');
    require_('pino')({ level: 'trace', customLevels: { chatty: 25 } }).chatty('between');
    require_('pino')({ level: 'trace' }).trace('deep');`);

  assert.deepEqual(brief(records), [
    ['shop', 9, 'order made'], ['shop.db', 13, 'slow'], ['shop', 17, 'failed'], ['shop', 21, 'over'], ['pino', 7, 'between'], ['pino', 1, 'deep'],
  ]);
  assert.deepEqual(records[0].attributes, { order: { id: 5, tags: ['a', 'b'] }, user: 7 });
  assert.deepEqual(records[1].attributes, { table: 'orders' });
  const { 'exception.stacktrace': stack, ...exception } = records[2].attributes;
  assert.deepEqual(exception, { 'exception.type': 'TypeError', 'exception.message': 'bad input' });
  assert.match(stack, /TypeError: bad input\n {4}at /);
  assert.equal(app.stdout.split('\n').filter(Boolean).length, 6);
});

test("pino: an application's own redaction holds for the copy too", async (t) => {
  const { records } = await logged(t, `
    require_('pino')({ redact: ['who'] }).info({ who: 'Ann', n: 1 }, 'x');
    require_('pino')({ hooks: { streamWrite: (s) => s.replace('Bob', '***') } }).info('Bob here');`);

  assert.deepEqual(records.map((r) => [r.body, r.attributes]), [['x', { who: '[Redacted]', n: 1 }], ['*** here', {}]]);
});

test('winston: formats, levels of its own, metadata, exceptions', async (t) => {
  const { records, app } = await logged(t, `
    const winston = require_('winston');
    const log = winston.createLogger({ format: winston.format.combine(winston.format.splat(), winston.format.json()),
      defaultMeta: { logger: 'shop' }, transports: [new winston.transports.Console()] });
    log.info('order %s', 'made', { id: 5 });
    log.warn({ message: 'object', at: new Date(0), f() {} });
    log.error(new RangeError('bad'));
    log.debug('not wanted');
    const own = winston.createLogger({ levels: { calm: 2, alarm: 0, odd: 1 }, level: 'calm', transports: [new winston.transports.Console()] });
    own.alarm('first'); own.calm('last');
    const filtered = winston.createLogger({ format: winston.format((info) => info.private ? false : info)(), transports: [new winston.transports.Console({ silent: true })] });
    filtered.info('kept'); filtered.info('mine', { private: true });
    log.child({ request: 'r1' }).info('of a child');`);

  assert.deepEqual(brief(records), [
    ['shop', 9, 'order made'], ['shop', 13, 'object'], ['shop', 17, 'bad'], ['winston', 21, 'first'], ['winston', 1, 'last'], ['winston', 9, 'kept'], ['shop', 9, 'of a child'],
  ]);
  assert.equal(records[0].attributes.id, 5);
  assert.equal(records[1].attributes.at, '1970-01-01T00:00:00.000Z');
  assert.equal(records[2].attributes['exception.type'], 'RangeError');
  assert.match(records[2].attributes['exception.stacktrace'], /RangeError: bad/);
  assert.equal(records[6].attributes.request, 'r1');
  assert.doesNotMatch(app.stdout, /not wanted/);
});

test('winston: a whole request object as metadata is cut down, not followed', async (t) => {
  const { records } = await logged(t, `
    const winston = require_('winston');
    const log = winston.createLogger({ format: winston.format.simple(), transports: [new winston.transports.Console({ silent: true })] });
    const a = { name: 'a' }; a.self = a; a.list = Array(5000).fill(a);
    log.info('odd', { a, process });`);

  assert.equal(records[0].body, 'odd');
  assert.equal(records[0].attributes.a.self, '[circular]');
});

test('console: a copy of each line from INFO on, and the lines themselves', async (t) => {
  const { records, app } = await logged(t, `
    console.log('plain %d', 5, { a: 1 });
    console.debug('shown, not kept');
    console.warn('careful');
    console.error('broken', new Error('why'));
    console.log({ toString() { throw new Error('mean'); }, [Symbol.toPrimitive]() { throw new Error('mean'); } });`);

  assert.deepEqual(brief(records).slice(0, 3), [['console', 9, 'plain 5 { a: 1 }'], ['console', 13, 'careful'], ['console', 17, records[2].body]]);
  assert.equal(records[2].attributes['exception.message'], 'why');
  assert.match(app.stdout, /plain 5 \{ a: 1 \}\nshown, not kept/);
  assert.match(app.stderr, /careful\nbroken Error: why/);
});

test('console and others can be left out by the standard variable', async (t) => {
  const { records } = await logged(t, "console.log('no'); require_('pino')().info('no'); require_('winston').createLogger().info('yes');",
    { OTEL_NODE_DISABLED_INSTRUMENTATIONS: 'console,pino' });

  assert.deepEqual(records.map((r) => r.body), ['yes']);
});

test('secrets leave neither in bodies, attributes, exceptions, spans nor the resource', async (t) => {
  const { sink } = await logged(t, `
    const log = require_('pino')({}, { write() {} });
    log.info({ password: 'S3CRET-1', nested: { list: [{ api_key: 'S3CRET-2' }] }, json: '{"token":"S3CRET-3"}' }, 'GET /x?access_token=S3CRET-4');
    log.error(new Error('db password=S3CRET-5'));
    console.log('Authorization: Bearer S3CRET-6');
    const { trace } = require_('@opentelemetry/api');
    trace.getTracer('t').startActiveSpan('GET /y?token=S3CRET-7', (span) => {
      span.setAttribute('url.full', 'https://u:S3CRET-8@h/?sig=S3CRET-9');
      span.setAttribute('db.query.text', "SELECT * FROM u WHERE mail = 'S3CRET-10'");
      span.recordException(new Error('secret=S3CRET-11'));
      span.setStatus({ code: 2, message: 'token=S3CRET-12' });
      span.end();
    });
    const { metrics } = require_('@opentelemetry/api');
    metrics.getMeter('m').createCounter('c').add(1, { url: '/?token=S3CRET-13' });`, { OTEL_RESOURCE_ATTRIBUTES: 'deploy.token=S3CRET-14' });

  const all = sink.requests.map((r) => JSON.stringify(r.body)).join('\n');
  assert.deepEqual(all.match(/S3CRET-\d+/g), null);
  assert.equal(sink.logs().length, 3);
  assert.ok(sink.logs()[0].attributes['otel_ingest.redacted'].includes('password:key'));
  assert.equal(sink.spans()[0].attributes['db.query.text'], 'SELECT * FROM u WHERE mail = ?');
  assert.ok(sink.metrics().some((m) => m.name === 'c'));
});

test('redaction that cannot work lets nothing out', async (t) => {
  const { records, app, sink } = await logged(t, "require_('pino')({}, { write() {} }).info({ a: 'text' }, 'body'); console.log('x');",
    { OTEL_INGEST_CLIENT_REDACT_MODE: 'nonsense' });

  assert.deepEqual(records.map((r) => r.body), ['[REDACTED: redaction failed]', '[REDACTED: redaction failed]']);
  assert.doesNotMatch(JSON.stringify(sink.requests.map((r) => r.body)), /"text"|"body":\{"stringValue":"body/);
  assert.match(app.stderr, /the redaction rules are unusable, every text is replaced: redaction mode nonsense/);
});

test("a user's names, patterns and function add to the rules", async (t) => {
  const { records } = await logged(t, `
    require('node:fs').writeFileSync('/dev/null', '');
    require_('pino')({}, { write() {} }).info({ badge: '123', note: 'see DOC-4711 of Ann' }, 'x');`, {
    OTEL_INGEST_CLIENT_REDACT_NAMES: 'badge', OTEL_INGEST_CLIENT_REDACT_RULES: require('node:path').join(__dirname, 'apps', 'rules.json'),
    OTEL_INGEST_CLIENT_REDACT_CALLABLE: './apps/own-redaction.js:redact',
  });

  assert.deepEqual([records[0].attributes.badge, records[0].attributes.note], ['[REDACTED]', 'see [REDACTED] of ***']);
});

test('what the SDK says about itself goes to stderr and never into the pipe', async (t) => {
  const { records, app, sink } = await logged(t, "require_('pino')({}, { write() {} }).info('one'); setTimeout(() => {}, 700);", { OTEL_LOG_LEVEL: 'verbose' });

  assert.deepEqual(records.map((r) => r.body), ['one']);
  assert.match(app.stderr, /otel debug: /);
  assert.deepEqual(sink.spans().map((s) => s.name), [], 'exports are not traced');
});

test('an own SIGTERM-less application without telemetry settings still runs', async (t) => {
  const { records } = await logged(t, "console.log('ran')", { OTEL_SDK_DISABLED: 'true' });

  assert.deepEqual(records, []);
});
