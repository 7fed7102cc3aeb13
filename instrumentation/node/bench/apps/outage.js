'use strict';
// Records at a steady rate for some seconds; then time for the receiver to come back and take what was kept.

const log = require('./quiet')();

const [rate, seconds] = process.argv.slice(2).map(Number);
let n = 0;
const begin = performance.now();
const timer = setInterval(() => {
  const due = Math.min(((performance.now() - begin) / 1000) * rate, rate * seconds);
  while (n < due) log.info('record %d', n++);
  if (n < rate * seconds) return;
  clearInterval(timer);
  setTimeout(() => {
    process.stdout.write(String(n));
    process.kill(process.pid, 'SIGTERM');
    setTimeout(() => process.exit(0), 15_000).unref(); // the stock one goes on after SIGTERM
  }, 40_000);
}, 10);
