'use strict';
// Emits the corpus of its argument: each planted text in its place, one record or span each.

const fs = require('node:fs');
const { trace, TraceFlags } = require('@opentelemetry/api');
const pino = require('pino');

const log = pino({ name: 'corpus' }, { write() {} });
const tracer = trace.getTracer('corpus');
const LINK = { traceId: '1'.padStart(32, '0'), spanId: '2'.padStart(16, '0'), traceFlags: TraceFlags.SAMPLED };

/** @param {(span: any) => void} fill @param {string} [name] @param {any} [options] */
function span(fill, name = 's', options = {}) {
  const made = tracer.startSpan(name, options);
  fill(made);
  made.end();
}

/** @type {Record<string, (text: string, secret: string, name: string) => void>} */
const PLACES = {
  body: (text) => log.info(text),
  'attribute text': (text) => log.info({ detail: text }, 'record'),
  'attribute name': (_, secret, name) => log.info({ [name]: secret }, 'record'),
  nested: (text, secret, name) => log.info({ deep: { a: [{ b: { [name || 'note']: secret || text } }] } }, 'record'),
  list: (text) => log.info({ items: ['x', text] }, 'record'),
  json: (text, secret, name) => log.info(JSON.stringify({ a: { [name || 'note']: secret || text } })),
  exception: (text) => log.error(new TypeError(text), 'failed'),
  'span attribute': (text) => span((s) => s.setAttribute('detail', text)),
  'span name': (text) => span(() => {}, text),
  'span event': (text) => span((s) => s.addEvent('e', { detail: text })),
  'span link': (text) => span(() => {}, 's', { links: [{ context: LINK, attributes: { detail: text } }] }),
  'span status': (text) => span((s) => s.setStatus({ code: 2, message: text })),
  'span exception': (text) => span((s) => s.recordException(new Error(text))),
  url: (text) => span((s) => s.setAttributes({ 'url.full': `https://example.org/x?q=1#${text}`, 'http.target': text })),
  header: (_, secret, name) => span((s) => s.setAttribute(`http.request.header.${name.toLowerCase()}`, [secret])),
  sql: (_, secret) => span((s) => s.setAttribute('db.statement', `SELECT * FROM u WHERE a = '${secret}' AND n = 3`)),
  arguments: (_, secret, name) => span((s) => s.setAttribute('process.command_args', ['app', `--${name}`, secret, '--verbose'])),
  resource: (text) => log.info({ note: text }, 'record'),
};

for (const { place, text, secret, name } of JSON.parse(fs.readFileSync(process.argv[2], 'utf8'))) PLACES[place](text, secret, name);
