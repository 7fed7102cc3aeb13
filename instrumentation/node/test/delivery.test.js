'use strict';
// Delivery by itself: what each answer does to a batch, and where batches are when they are not delivered.

const assert = require('node:assert/strict');
const fs = require('node:fs');
const path = require('node:path');
const { test } = require('node:test');
const { newBatch } = require('../lib/batch');
const { Delivery } = require('../lib/delivery');
const { RETRIES_MAX } = require('../lib/lane');
const { Report } = require('../lib/report');
const { Spool } = require('../lib/spool');
const { split, countProtobuf } = require('../lib/split');
const { Writer } = require('../lib/protobuf');
const { temporary } = require('./help/app');

/** A delivery with a scripted receiver. @param {any} t @param {object} [options] */
function setUp(t, { directory = temporary(t), spool = true, bytesMax = 1_000_000, spoolBytesMax = 1_000_000, always = false } = {}) {
  const lines = /** @type {string[]} */ ([]);
  const report = new Report({ write: (line) => lines.push(line) });
  const script = { answers: /** @type {any[]} */ ([]), otherwise: /** @type {any} */ ({ kind: 'ok' }), sent: /** @type {any[]} */ ([]) };
  const transport = {
    endpoint: 'http://sink', encoding: /** @type {const} */ ('protobuf'), close() {},
    async send(/** @type {any} */ batch) {
      script.sent.push(batch);
      await new Promise(setImmediate);
      return script.answers.shift() ?? script.otherwise;
    },
  };
  const options = { directory, bytesMax: spoolBytesMax, ageMs: 3_600_000, report };
  const made = spool ? new Spool(options) : undefined;
  const delivery = new Delivery({ transports: { logs: transport }, spool: made, always, bytesMax, report, random: () => 0 });
  return { delivery, lane: /** @type {any} */ (delivery.lanes.get('logs')), spool: made, report, lines, script, options };
}

const batch = (/** @type {number} */ size = 10, /** @type {number} */ records = 1) => newBatch('logs', 'protobuf', Buffer.alloc(size, 1), records);
const until = async (/** @type {() => boolean} */ test_) => { for (let i = 0; !test_(); i++) { assert.ok(i < 2000, `not yet: ${test_}`); await new Promise((r) => setTimeout(r, 5)); } };

test('accepted batches leave memory, in order', async (t) => {
  const { delivery, lane, report, script } = setUp(t);
  const all = [batch(), batch(), batch()];
  for (const b of all) delivery.add(b);
  await until(() => lane.queue.length === 0);

  assert.deepEqual(script.sent, all);
  assert.equal(report.total('sent'), 3);
  assert.equal(lane.shared.bytes, 0);
});

test('a refused connection is tried again with the same id, and nothing is said', async (t) => {
  const { delivery, lane, lines, script } = setUp(t);
  script.answers = [{ kind: 'retry' }, { kind: 'retry' }];
  delivery.add(batch());
  await until(() => lane.queue.length === 0);

  assert.equal(script.sent.length, 3);
  assert.equal(new Set(script.sent.map((b) => b.id)).size, 1);
  assert.deepEqual(lines, []);
});

test('after the retries what waits goes to disk with one line, and is replayed oldest first', async (t) => {
  const { delivery, lane, spool, report, lines, script } = setUp(t);
  script.otherwise = { kind: 'retry', detail: 'HTTP 503' };
  const all = [batch(), batch(), batch()];
  for (const [i, b] of all.entries()) {
    b.createdMs = Date.now() - 1000 + i;
    delivery.add(b);
  }
  await until(() => spool?.entries.length === 3);

  assert.equal(lines.length, 1);
  assert.match(lines[0], /CRITICAL .*http:\/\/sink does not take logs \(HTTP 503\); until it is back, what comes is kept in/);
  assert.equal(report.total('spooled'), 3);
  script.sent = [];
  script.otherwise = { kind: 'ok' };
  lane.wake();
  await until(() => spool?.entries.length === 0);
  assert.deepEqual(script.sent.map((b) => b.id).filter((id, i, ids) => ids.indexOf(id) === i), all.map((b) => b.id));
  assert.equal(report.total('sent'), 3);
});

test('Retry-After is waited for', async (t) => {
  const { delivery, lane, script } = setUp(t);
  script.answers = [{ kind: 'retry', retryAfterMs: 300 }];
  const start = performance.now();
  delivery.add(batch());
  await until(() => lane.queue.length === 0);

  assert.ok(performance.now() - start >= 290);
});

test('a permanent refusal is kept for a person, and said', async (t) => {
  const { delivery, lane, spool, lines, report, script } = setUp(t);
  script.answers = [{ kind: 'refused', detail: 'HTTP 401' }];
  delivery.add(batch(10, 7));
  await until(() => lane.queue.length === 0);

  const [dead] = fs.readdirSync(/** @type {any} */ (spool).dead);
  assert.match(dead, /-logs-7-/);
  assert.match(lines[0], /http:\/\/sink refuses for good \(HTTP 401\): 7 logs kept in .*dead-letter/);
  assert.equal(report.total('dead_lettered'), 7);
});

test('a partial success is said and counted', async (t) => {
  const { delivery, lane, lines, report, script } = setUp(t);
  script.answers = [{ kind: 'ok', rejected: 2, detail: 'too old' }];
  delivery.add(batch(10, 5));
  await until(() => lane.queue.length === 0);

  assert.match(lines[0], /rejected 2 of 5 logs: too old/);
  assert.deepEqual([report.total('sent'), report.total('rejected')], [3, 2]);
});

/** @param {number} records */
function request(records) {
  const scope = new Writer().message(1, new Writer().bytes(1, 'scope'));
  for (let i = 0; i < records; i++) scope.message(2, new Writer().bytes(3, `record ${i}`));
  return new Writer().message(1, new Writer().message(1, new Writer()).message(2, scope).bytes(3, 'url')).finish();
}

test('a batch that is too large is halved until it fits', async (t) => {
  const { delivery, lane, report, script } = setUp(t);
  const whole = newBatch('logs', 'protobuf', request(5), 5);
  const fits = () => script.sent.filter((b) => b.records <= 2);
  script.answers = [{ kind: 'split' }, { kind: 'split' }];
  delivery.add(whole);
  await until(() => lane.queue.length === 0);

  assert.deepEqual(fits().map((b) => countProtobuf(b.body)), [2, 1, 2]);
  assert.equal(report.total('sent'), 5);
  assert.deepEqual(split(whole)?.map((b) => b.id), split(whole)?.map((b) => b.id), 'the ids of the halves follow from the whole');
});

test('one record that is too large is kept for a person', async (t) => {
  const { delivery, lane, report, script } = setUp(t);
  script.otherwise = { kind: 'split', detail: 'HTTP 413' };
  delivery.add(newBatch('logs', 'protobuf', request(1), 1));
  await until(() => lane.queue.length === 0);

  assert.equal(report.total('dead_lettered'), 1);
});

test('memory is bounded: what does not fit goes to disk, and from there to the receiver', async (t) => {
  const { delivery, lane, spool, report, script } = setUp(t, { bytesMax: 100 });
  for (let i = 0; i < 20; i++) delivery.add(batch(30));

  assert.ok(lane.shared.bytes <= 130, `${lane.shared.bytes} bytes`);
  assert.ok(spool && spool.entries.length >= 16);
  await until(() => report.total('sent') === 20);
  assert.equal(new Set(script.sent.map((b) => b.id)).size, 20);
});

test('without a spool what does not fit is lost, counted and said', (t) => {
  const { delivery, report, lines } = setUp(t, { bytesMax: 100, spool: false });
  for (let i = 0; i < 20; i++) delivery.add(batch(30, 2));

  assert.ok(report.total('dropped') >= 32);
  assert.match(lines[0], /2 logs are lost, 2 so far/);
  assert.equal(lines.length, 1, 'one line a minute');
});

test('the spool is bounded: the oldest goes, counted and said', async (t) => {
  const { delivery, spool, report, lines, script } = setUp(t, { bytesMax: 10, spoolBytesMax: 100 });
  script.otherwise = { kind: 'retry' };
  for (let i = 0; i < 10; i++) delivery.add(batch(30));
  await until(() => report.total('dropped') >= 6);

  assert.ok(spool && spool.bytes <= 100);
  assert.ok(lines.some((line) => /is full \(100 bytes\): 1 logs from .* are lost/.test(line)));
});

test('a disk that refuses leaves batches in memory, and says so', async (t) => {
  const directory = temporary(t);
  fs.writeFileSync(path.join(directory, 'spool'), 'a file where a directory should be');
  const { delivery, lane, lines, script } = setUp(t, { directory: path.join(directory, 'spool') });
  script.otherwise = { kind: 'retry' };
  delivery.add(batch());
  await until(() => lane.failures > RETRIES_MAX);

  assert.equal(lane.queue.length, 1);
  assert.ok(lines.some((line) => /cannot be written/.test(line)));
  script.otherwise = { kind: 'ok' };
  await until(() => lane.queue.length === 0);
});

test('what a process that is gone left is taken over once, by whoever comes first', async (t) => {
  const directory = temporary(t);
  const first = setUp(t, { directory });
  const orphan = path.join(directory, 'node-' + require('node:os').hostname() + '-999999999-1');
  assert.ok(/** @type {any} */ (first.spool).writeSync(batch()) && /** @type {any} */ (first.spool).writeSync(batch()));
  fs.renameSync(/** @type {any} */ (first.spool).own, orphan);
  fs.writeFileSync(path.join(orphan, '.cut-off.part'), 'half');
  const one = setUp(t, { directory });
  const two = setUp(t, { directory });
  /** @type {any} */ (two.spool).own += '-t2';

  const adopted = await Promise.all([one.spool?.adopt(), two.spool?.adopt()]);

  assert.equal(adopted.reduce((a, b) => Number(a) + Number(b), 0), 2);
  assert.ok(!fs.existsSync(orphan));
  assert.equal(/** @type {any} */ (one.spool).entries.length + /** @type {any} */ (two.spool).entries.length, 2);
});

test('a process that lives keeps its spool', async (t) => {
  const { spool, options } = setUp(t);
  spool?.writeSync(batch());
  const other = new Spool(options);
  other.own += '-t9';

  assert.equal(await other.adopt(), 0);
  assert.equal(spool?.entries.length, 1);
});

test('spool=always writes before the first try and takes the file away after it', async (t) => {
  const { delivery, lane, spool, report } = setUp(t, { always: true });
  delivery.add(batch());

  assert.equal(spool?.entries.length, 1);
  await until(() => lane.queue.length === 0);
  assert.equal(spool?.entries.length, 0);
  assert.deepEqual([report.total('sent'), report.total('spooled')], [1, 0]);
});

test('draining ends within its budget though the receiver never answers, and leaves all on disk', async (t) => {
  const { delivery, lane, spool } = setUp(t);
  lane.transport.send = () => new Promise(() => {});
  delivery.add(batch());
  const start = performance.now();
  await delivery.drain(200);
  delivery.spillSync();

  assert.ok(performance.now() - start < 2000);
  assert.equal(spool?.entries.length, 1);
});
