'use strict';
// A link of a chain of services: logs by all three loggers, asks the next one, answers. No line of OpenTelemetry.

const express = require('express');
const pino = require('pino');
const winston = require('winston');

const [name, following] = process.argv.slice(2);
const log = pino({ name: `chain.${name}` });
const other = winston.createLogger({ defaultMeta: { logger: `chain.${name}.winston` }, transports: [new winston.transports.Console()] });
const app = express();

app.get('/go', async (_request, response) => {
  log.trace('%s trace', name);
  log.debug('%s debug', name);
  log.info('%s begins', name);
  other.debug(`${name} winston debug`);
  other.info(`${name} winston`);
  console.debug(`${name} console debug`);
  console.log(`${name} console`);
  const answer = following ? await (await fetch(`${following}/go`)).text() : '';
  log.warn('%s ends', name);
  response.set('x-debug', String(log.isLevelEnabled('debug'))).send(name + answer);
});

const server = app.listen(0, '127.0.0.1', () => process.stdout.write(`port ${server.address().port}\n`));
