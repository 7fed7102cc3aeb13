'use strict';
// The cost of one log.info(), of one log.debug() that is off, and of one HTTP request, seen from the application.

const http = require('node:http');
const log = require('./quiet')();

/** @param {number[]} list @param {number} share */
const percentile = (list, share) => list.sort((a, b) => a - b)[Math.floor(list.length * share)];

/** Microseconds of each of `n` calls, a turn of the event loop between hundreds. @param {number} n @param {() => void} call */
async function times(n, call) {
  const all = [];
  for (let i = 0; i < n; i++) {
    const start = process.hrtime.bigint();
    call();
    all.push(Number(process.hrtime.bigint() - start) / 1000);
    if (i % 100 === 99) await new Promise((resolve) => { setTimeout(resolve, 5); });
  }
  return all;
}

async function main() {
  const call = () => log.info({ order: 5, user: 'ann', path: '/api/orders/5', ms: 12.5 }, 'order %d made', 5);
  await times(5000, call);
  const info = await times(20_000, call);
  const n = 1_000_000;
  for (let i = 0; i < n; i++) log.debug('off');
  const start = process.hrtime.bigint();
  for (let i = 0; i < n; i++) log.debug('off');
  const disabled = Number(process.hrtime.bigint() - start) / n;

  const server = http.createServer((_request, response) => { call(); response.end('ok'); });
  await new Promise((resolve) => { server.listen(0, '127.0.0.1', () => resolve(undefined)); });
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  const ask = () => new Promise((resolve) => {
    http.get({ port: /** @type {any} */ (server.address()).port, agent }, (response) => { response.resume(); response.on('end', resolve); });
  });
  const requests = [];
  for (let i = 0; i < 4000; i++) {
    const at = process.hrtime.bigint();
    await ask();
    if (i >= 1000) requests.push(Number(process.hrtime.bigint() - at) / 1000);
  }
  const out = {
    info: percentile(info, 0.5).toFixed(1), info99: percentile(info, 0.99).toFixed(1), disabled: disabled.toFixed(1),
    request: percentile(requests, 0.5).toFixed(0), request99: percentile(requests, 0.99).toFixed(0),
  };
  process.stdout.write(JSON.stringify(out));
  agent.destroy();
  server.close();
}

void main();
