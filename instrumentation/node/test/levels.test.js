'use strict';
// Levels while running: the rules by themselves, the OpAMP agent against a scripted server, and both in a real process.

const assert = require('node:assert/strict');
const { test } = require('node:test');
const { Levels } = require('../lib/levels');
const { OpampAgent } = require('../lib/opamp');
const { STATUS, decodeServerToAgent, encodeAgentToServer } = require('../lib/opamp-messages');
const { Writer, bytesOf, fields, numberOf } = require('../lib/protobuf');
const { startSink } = require('./help/sink');
const { runApp } = require('./help/app');

const rule = (/** @type {string} */ name, /** @type {any} */ level, /** @type {number} */ seconds = 60, id = 1) => ({ id, name, level, expires_in_s: seconds });

test('of several rules the longest name counts, then the newest', () => {
  const levels = new Levels();
  levels.apply([rule('*', 'ERROR'), rule('shop', 'DEBUG'), rule('shop.db', 'WARN', 60, 2), rule('shop.db', 'TRACE', 60, 3)]);

  assert.deepEqual(['x', 'shop', 'shop.web', 'shopping', 'shop.db', 'shop.db.pool'].map((name) => levels.threshold(name)), [17, 5, 5, 17, 1, 1]);
  assert.equal(levels.wants('x', 13, true), false, 'a rule may quieten too');
  assert.equal(levels.wants('shop.db.pool', 1, false), true);
  levels.apply([]);
  assert.ok(levels.idle);
});

test('a rule ends by itself, on a clock that nobody sets', async () => {
  let now = 0;
  const levels = new Levels(() => now);
  let told = 0;
  levels.onExpired = () => { told += 1; };
  levels.apply([rule('*', 'DEBUG', 0.02), rule('shop', 'TRACE', 3600)]);
  now = 50;
  while (told === 0) await new Promise((resolve) => { setTimeout(resolve, 5); });

  assert.deepEqual(levels.effective(), [{ name: 'shop', level: 'TRACE', remaining_s: 3600 }]);
  assert.equal(levels.threshold('x'), undefined);
  levels.close();
});

test('rules that cannot be applied change nothing', () => {
  const levels = new Levels();
  levels.apply([rule('*', 'DEBUG')]);
  for (const wrong of [rule('*', 'LOUD'), rule('', 'DEBUG'), rule('*', 'DEBUG', -1)]) assert.throws(() => levels.apply([rule('a', 'INFO'), wrong]), TypeError);

  assert.equal(levels.threshold('a'), 5);
  levels.close();
});

/** A ServerToAgent. @param {{flags?: number, hash?: string, loggers?: any[]}} message */
function serverToAgent({ flags = 0, hash, loggers }) {
  const out = new Writer().bytes(1, Buffer.alloc(16));
  if (hash) {
    const file = new Writer().bytes(1, JSON.stringify({ version: 1, loggers })).bytes(2, 'application/json');
    const map = new Writer().message(1, new Writer().bytes(1, 'log_levels').message(2, file));
    out.message(3, new Writer().message(1, map).bytes(2, Buffer.from(hash, 'hex')));
  }
  return out.number(6, flags).finish();
}

/** What an AgentToServer says, plainly. @param {Buffer} bytes */
function said(bytes) {
  const list = fields(bytes);
  const status = bytesOf(list, 7);
  const effective = bytesOf(list, 6);
  const text = effective?.toString('utf8') ?? '';
  return {
    uid: bytesOf(list, 1)?.toString('hex'),
    described: bytesOf(list, 3)?.toString('latin1'),
    status: status && { hash: bytesOf(fields(status), 1)?.toString('hex'), status: numberOf(fields(status), 2), error: bytesOf(fields(status), 3)?.toString() },
    effective: effective && JSON.parse(text.slice(text.indexOf('{'), text.lastIndexOf('}') + 1)).loggers,
    ends: bytesOf(list, 9) !== undefined,
  };
}

/** @param {any[]} answers */
function agentWith(answers) {
  /** @type {any[]} */
  const messages = [];
  /** @type {(string | undefined)[]} */
  const wishes = [];
  const levels = new Levels();
  const agent = new OpampAgent({
    levels, description: { identifying: { 'service.name': 'shop' }, other: { 'process.pid': 7 } },
    post: async (body, _timeout, headers) => {
      messages.push(said(Buffer.from(body)));
      wishes.push(headers.Prefer);
      const answer = answers.shift() ?? {};
      if (answer instanceof Error) throw answer;
      const applied = answer.waits && headers.Prefer ? { 'preference-applied': headers.Prefer } : {};
      if (answer.waits && headers.Prefer) await new Promise((resolve) => { setTimeout(resolve, answer.waits); });
      return { status: answer.http ?? 200, headers: applied, body: serverToAgent(answer) };
    },
  });
  return { agent, levels, messages, wishes };
}
const until = async (/** @type {() => boolean} */ test_) => { for (let i = 0; !test_(); i++) { assert.ok(i < 2000, `not yet: ${test_}`); await new Promise((r) => { setTimeout(r, 5); }); } };

test('the agent describes itself, applies what it is told, and says so at once', async () => {
  const { agent, levels, messages } = agentWith([{ hash: 'aa01', loggers: [rule('shop', 'DEBUG')] }]);
  agent.start();
  await until(() => messages.length === 2);

  assert.match(messages[0].described, /service\.name.*shop.*process\.pid/s);
  assert.match(messages[0].uid, /^[0-9a-f]{12}7[0-9a-f]{3}[89ab]/);
  assert.deepEqual(messages[0].effective, []);
  assert.deepEqual(messages[1].status, { hash: 'aa01', status: STATUS.APPLIED, error: undefined });
  assert.equal(messages[1].effective[0].level, 'DEBUG');
  assert.equal(messages[1].described, undefined);
  assert.equal(levels.threshold('shop'), 5);
  await agent.close();
  assert.ok(messages.at(-1).ends);
  levels.close();
});

test('what cannot be applied is said to have failed', async () => {
  const { agent, levels, messages } = agentWith([{ hash: 'aa02', loggers: [rule('shop', 'LOUD')] }]);
  agent.start();
  await until(() => messages.length === 2);

  assert.equal(messages[1].status.status, STATUS.FAILED);
  assert.match(messages[1].status.error, /cannot apply level LOUD/);
  assert.ok(levels.idle);
  await agent.close();
});

test('a server that forgot the agent gets all of it again', async () => {
  const { agent, messages } = agentWith([{}, {}, { flags: 1 }]);
  agent.start();
  await until(() => messages.length === 2);
  agent.seen('bb');
  await until(() => messages.length >= 4);

  assert.equal(messages[2].described, undefined);
  assert.match(messages[3].described, /service\.name/);
  await agent.close();
});

test('a hash on an export answer is asked about once', async () => {
  const { agent, messages } = agentWith([]);
  agent.start();
  await until(() => messages.length === 2); // who it is, and whether the server would wait
  for (let i = 0; i < 100; i++) agent.seen('cc');
  await until(() => messages.length === 3);
  await new Promise((resolve) => { setTimeout(resolve, 50); });

  assert.equal(messages.length, 3);
  await agent.close();
});

test('a server that holds polls is asked again at once, not past the end of a rule; gone, it is tried soon', async () => {
  const { agent, levels, messages, wishes } = agentWith([{}, { waits: 1100, hash: 'aa03', loggers: [rule('shop', 'DEBUG', 9.5)] }, { waits: 1100 }, new Error('refused')]);
  agent.start();
  await until(() => messages.length === 4);

  assert.deepEqual(wishes.slice(0, 3), [undefined, 'wait=25', 'wait=9']);
  assert.equal(messages[2].status.status, STATUS.APPLIED);
  await until(() => agent.failures === 1);
  assert.ok(agent.holds);
  levels.close();
  await agent.close();
});

test('no OpAMP server there: asked ever more seldom, and nothing is said', async () => {
  const { agent, messages } = agentWith([{ http: 404 }, new Error('refused')]);
  agent.start();
  await until(() => agent.failures === 1);
  agent.seen('dd');
  await until(() => agent.failures === 2);

  assert.equal(messages.length, 2);
  await agent.close();
  assert.equal(messages.length, 2, 'no goodbye to nobody');
});

test('messages survive the way through protobuf', () => {
  const uid = Buffer.alloc(16, 3);
  const message = encodeAgentToServer({ uid, sequence: 300, disconnect: true });

  assert.deepEqual([numberOf(fields(message), 2), said(message).ends], [300, true]);
  assert.throws(() => decodeServerToAgent(Buffer.from([0x1a, 0xff])), RangeError);
});

test('a real process: DEBUG within two seconds of the hash, for as long as told, and its own output as before', async (t) => {
  const sink = await startSink(t);
  const state = { hash: 'ee00', loggers: /** @type {any[]} */ ([]) };
  /** @type {any[]} */
  const messages = [];
  sink.answer = ({ path, bytes }) => {
    if (path !== '/v1/opamp') return { headers: { 'x-otel-ingest-config': state.hash } };
    const message = said(bytes);
    messages.push(message);
    const has = messages.findLast((m) => m.status)?.status.hash;
    return { headers: { 'Content-Type': 'application/x-protobuf' }, bytes: serverToAgent(has === state.hash || state.hash === 'ee00' ? {} : state) };
  };
  const app = runApp(t, `
    const pino = require_('pino')({ name: 'shop' });
    const winston = require_('winston').createLogger({ transports: [new (require_('winston').transports.Console)()], defaultMeta: { logger: 'shop.w' } });
    setInterval(() => {
      pino.info('pino info'); pino.debug('pino debug'); winston.debug('winston debug'); console.debug('console debug');
      process.stdout.write('enabled ' + pino.isLevelEnabled('debug') + winston.isLevelEnabled('debug') + '\\n');
    }, 20);`, { sink: sink.url, env: { OTEL_INGEST_CLIENT_OPAMP: 'on' } });
  await sink.until(() => sink.logs().length > 0 && messages.length > 0);
  const kept = (/** @type {string} */ body) => sink.logs().filter((r) => r.body === body).length;
  assert.equal(kept('pino debug') + kept('winston debug') + kept('console debug'), 0);

  const start = performance.now();
  Object.assign(state, { hash: 'ee01', loggers: [{ id: 1, name: 'shop', level: 'DEBUG', expires_in_s: 2 }] });
  await sink.until(() => kept('pino debug') > 0 && kept('winston debug') > 0);
  t.diagnostic(`first DEBUG record after ${Math.round(performance.now() - start)} ms`);
  assert.equal(messages.findLast((m) => m.status).status.status, STATUS.APPLIED);
  await app.says(/enabled truetrue/);

  // The server is gone for levels: they end all the same.
  sink.answer = ({ path }) => (path === '/v1/opamp' ? { status: 503 } : undefined);
  await app.says(/enabled truetrue[^]*enabled falsefalse/);
  assert.equal(kept('console debug'), 0, 'the rule was for shop');
  app.child.kill('SIGTERM');
  await app.ended;
  assert.doesNotMatch(app.stdout, /pino debug|winston debug/);
});
