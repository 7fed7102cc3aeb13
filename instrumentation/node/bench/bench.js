'use strict';
// What the distribution costs an application and what it saves, beside the stock one and none, as the tables of docs/clients.md.
// node bench/bench.js [cost] [loop] [burst] [ends] [outage]; each alone, all by default; OUTAGE_S=60 RATE=100 for the outage.

const { spawn } = require('node:child_process');
const fs = require('node:fs');
const http = require('node:http');
const os = require('node:os');
const path = require('node:path');

const PACKAGE = path.join(__dirname, '..');
const APPS = path.join(__dirname, 'apps');
const WAYS = {
  none: [],
  stock: ['--require', require.resolve('@opentelemetry/auto-instrumentations-node/register')],
  ours: ['--require', path.join(PACKAGE, 'register.js')],
};
const OUTAGE_S = Number(process.env.OUTAGE_S ?? 60);
const RATE = Number(process.env.RATE ?? 100);

const PROTOBUF = { OTEL_EXPORTER_OTLP_PROTOCOL: 'http/protobuf' }; // the default of both; JSON is for counting only

/** A receiver that counts bodies named "record N", and can be away. */
class Counter {
  constructor() {
    this.reset();
    this.server = http.createServer((request, response) => {
      /** @type {Buffer[]} */
      const chunks = [];
      request.on('data', (chunk) => chunks.push(chunk));
      request.on('end', () => {
        const id = String(request.headers['x-otel-ingest-batch-id'] ?? Math.random());
        const json = request.headers['content-type'] === 'application/json';
        if (json && request.url === '/v1/logs' && !this.seen.has(id)) this.#take(JSON.parse(Buffer.concat(chunks).toString()));
        this.seen.add(id);
        response.writeHead(200, { 'Content-Type': 'application/json', ...this.headers }).end('{}');
      });
    });
  }

  reset() {
    this.seen = new Set();
    /** @type {Map<string, number>} */
    this.records = new Map();
    /** @type {Record<string, string>} */
    this.headers = {};
  }

  /** @param {any} request */
  #take(request) {
    for (const group of request.resourceLogs) for (const scope of group.scopeLogs) for (const record of scope.logRecords) {
      const body = record.body?.stringValue ?? '';
      if (body.startsWith('record ')) this.records.set(body, (this.records.get(body) ?? 0) + 1);
    }
  }

  get received() {
    return this.records.size;
  }

  get doubled() {
    return [...this.records.values()].filter((n) => n > 1).length;
  }

  /** @param {number} [port] */
  async up(port = 0) {
    await new Promise((resolve) => { this.server.listen(port, '127.0.0.1', () => resolve(undefined)); });
    this.port = /** @type {any} */ (this.server.address()).port;
  }

  async down() {
    this.server.closeAllConnections();
    await new Promise((resolve) => { this.server.close(resolve); });
  }
}

/** @param {keyof typeof WAYS} way @param {string} app @param {number} port @param {string} spool @param {string[]} args @param {Record<string, string>} [more] */
function run(way, app, port, spool, args, more = {}) {
  const clean = Object.fromEntries(Object.entries(process.env).filter(([key]) => !key.startsWith('OTEL_') && key !== 'NODE_OPTIONS'));
  const child = spawn(process.execPath, [...WAYS[way], path.join(APPS, app), ...args], {
    env: {
      ...clean, OTEL_SERVICE_NAME: 'bench', OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${port}`, OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json',
      OTEL_INGEST_CLIENT_SPOOL_DIR: spool, OTEL_LOGS_EXPORTER: 'otlp', OTEL_NODE_RESOURCE_DETECTORS: 'env,host,os,process', ...more,
    },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let out = '';
  child.stdout.on('data', (chunk) => { out += chunk; });
  return { child, ended: new Promise((resolve) => { child.on('close', () => resolve(out)); }) };
}

/** @param {string[]} head @param {any[][]} rows */
function table(head, rows) {
  console.log(`\n| ${head.join(' | ')} |\n|${head.map(() => '---|').join('')}`);
  for (const row of rows) console.log(`| ${row.join(' | ')} |`);
}

const wait = (/** @type {number} */ ms) => new Promise((resolve) => { setTimeout(resolve, ms); });
const temporary = () => fs.mkdtempSync(path.join(os.tmpdir(), 'otel-ingest-bench-'));

/** @type {Record<string, (counter: Counter) => Promise<void>>} */
const PARTS = {
  async cost(counter) {
    const rows = [];
    for (const way of /** @type {const} */ (['none', 'stock', 'ours'])) {
      const out = JSON.parse(await run(way, 'cost.js', counter.port ?? 0, temporary(), [], PROTOBUF).ended);
      rows.push([way, out.info, out.info99, out.disabled, out.request, out.request99]);
    }
    table(['', 'log.info p50 µs', 'p99', 'log.debug, off, ns', 'HTTP request p50 µs', 'p99'], rows);
  },
  async loop(counter) {
    const rows = [];
    for (const way of /** @type {const} */ (['none', 'stock', 'ours'])) {
      for (const rate of ['500', '5000']) {
        const out = JSON.parse(await run(way, 'loop.js', counter.port ?? 0, temporary(), [rate, '8'], PROTOBUF).ended);
        rows.push([way, rate, out.p50, out.p99, out.max, out.cpu]);
      }
    }
    table(['', 'records/s', 'event loop delay p50 ms', 'p99', 'max', 'CPU %'], rows);
  },
  async burst(counter) {
    const rows = [];
    for (const way of /** @type {const} */ (['stock', 'ours'])) {
      counter.reset();
      const spool = temporary();
      const sent = Number(await run(way, 'burst.js', counter.port ?? 0, spool, ['100000']).ended);
      const first = counter.received;
      if (way === 'ours') {
        const next = run(way, 'idle.js', counter.port ?? 0, spool, []);
        for (let i = 0; i < 600 && counter.received < 100_000; i++) await wait(100);
        next.child.kill('SIGTERM');
        await next.ended;
      }
      rows.push([way, '100,000', Math.round(sent), first, counter.received, counter.doubled]);
    }
    table(['', 'records in one turn', 'ms they took', 'received at exit', 'with the next process', 'doubled'], rows);
  },
  async ends(counter) {
    const rows = [];
    for (const end of ['natural', 'exit', 'throw', 'SIGTERM', 'SIGKILL']) {
      const row = [end];
      for (const way of /** @type {const} */ (['stock', 'ours'])) {
        counter.reset();
        const spool = temporary();
        const start = performance.now();
        const always = end === 'SIGKILL' ? { OTEL_INGEST_CLIENT_SPOOL: 'always' } : {};
        const { child, ended } = run(way, 'end.js', counter.port ?? 0, spool, [end], /** @type {any} */ (always));
        const killer = setTimeout(() => child.kill('SIGKILL'), 20_000); // the stock one serves on after SIGTERM
        await ended;
        clearTimeout(killer);
        const took = Math.round(performance.now() - start);
        const first = counter.received;
        if (way === 'ours' && first < 500) {
          const next = run(way, 'idle.js', counter.port ?? 0, spool, []);
          for (let i = 0; i < 30 && counter.received < 500; i++) await wait(100);
          next.child.kill('SIGTERM');
          await next.ended;
        }
        row.push(`${first}${counter.received > first ? `, ${counter.received} with the next process` : ''}`, String(took));
      }
      rows.push(row);
    }
    table(['500 records at 100/s, then', 'stock: received', 'ms', 'ours: received', 'ms'], rows);
  },
  async outage(counter) {
    const rows = [];
    for (const way of /** @type {const} */ (['stock', 'ours'])) {
      counter.reset();
      const { port } = counter;
      const seconds = OUTAGE_S + 20;
      const { ended } = run(way, 'outage.js', port ?? 0, temporary(), [String(RATE), String(seconds)]);
      await wait(10_000);
      await counter.down();
      await wait(OUTAGE_S * 1000);
      await counter.up(port);
      const sent = Number(await ended);
      rows.push([way, sent, counter.received, sent - counter.received, counter.doubled]);
    }
    table([`${RATE}/s, receiver away for ${OUTAGE_S} s`, 'sent', 'received', 'lost', 'doubled'], rows);
  },
};

async function main() {
  const counter = new Counter();
  await counter.up();
  const asked = process.argv.slice(2);
  console.log(`node ${process.version}, ${os.cpus().length} cores, load ${os.loadavg()[0].toFixed(1)}`);
  for (const [name, part] of Object.entries(PARTS)) {
    counter.reset();
    if (asked.length === 0 || asked.includes(name)) await part(counter);
  }
  await counter.down();
}

void main();
