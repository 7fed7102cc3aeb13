// An ES module with a server, a client and two loggers.

import express from 'express';
import pino from 'pino';
import winston from 'winston';

const log = pino({ name: 'esm' });
const other = winston.createLogger({ transports: [new winston.transports.Console()] });
const app = express();
app.get('/hello', (_request, response) => {
  log.info('in a request');
  other.info('in a request');
  response.send('hello');
});
const server = app.listen(0, '127.0.0.1', async () => {
  await (await fetch(`http://127.0.0.1:${server.address().port}/hello`)).text();
  server.close();
});
