'use strict';
// Records in one go, without a turn of the event loop between them.

const log = require('./quiet')();

const start = performance.now();
for (let n = 0; n < Number(process.argv[2]); n++) log.info('record %d', n);
process.stdout.write(String(performance.now() - start));
