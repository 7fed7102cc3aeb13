'use strict';
// 500 records at 100 a second, and then the end that is asked for.

const log = require('./quiet')();

const [end] = process.argv.slice(2);
let n = 0;
const timer = setInterval(() => {
  log.info('record %d', n++);
  if (n < 500) return;
  clearInterval(timer);
  if (end === 'exit') process.exit(0);
  if (end === 'throw') throw new Error('dead');
  if (end.startsWith('SIG')) {
    setInterval(() => {}, 1000);
    process.kill(process.pid, end);
  }
}, 10);
process.on('uncaughtException', (error) => { // the message would only disturb the table
  if (error.message === 'dead') process.exit(1);
  throw error;
});
