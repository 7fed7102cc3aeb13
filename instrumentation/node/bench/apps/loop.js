'use strict';
// How long the event loop is held up while records are made at a steady rate.

const { monitorEventLoopDelay } = require('node:perf_hooks');
const log = require('./quiet')();

const [rate, seconds] = process.argv.slice(2).map(Number);
let n = 0;
const begin = performance.now();
const timer = setInterval(() => {
  const due = ((performance.now() - begin) / 1000) * rate;
  while (n < due) log.info({ n, user: 'ann', path: `/api/orders/${n}` }, 'record %d', n++);
}, 10);

setTimeout(() => {
  const delay = monitorEventLoopDelay({ resolution: 1 });
  delay.enable();
  const cpu = process.cpuUsage();
  const at = performance.now();
  setTimeout(() => {
    delay.disable();
    const used = process.cpuUsage(cpu);
    clearInterval(timer);
    const ms = (/** @type {number} */ ns) => (ns / 1e6).toFixed(1);
    const share = ((used.user + used.system) / 10 / (performance.now() - at)).toFixed(0);
    process.stdout.write(JSON.stringify({ p50: ms(delay.percentile(50)), p99: ms(delay.percentile(99)), max: ms(delay.max), cpu: share }));
  }, seconds * 1000);
}, 2000);
