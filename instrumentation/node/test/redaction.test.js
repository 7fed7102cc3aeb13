'use strict';
// The table of vectors that Python and the receiver are held to as well, and what must hold for any input.

const assert = require('node:assert/strict');
const { test } = require('node:test');
const { Redactor } = require('../lib/redaction/engine');
const { sharedRules } = require('../lib/redaction/rules');
const { cases } = require('../../redaction/vectors.json');

/** @param {Redactor} redactor @param {string} place @param {any} value */
function redact(redactor, place, value) {
  /** @type {Set<string>} */
  const found = new Set();
  const out = place === 'text' ? redactor.value(value, 'body', found) : redactor.mapping(value, '', found);
  return { out, found: [...found].sort() };
}

for (const { name, place, input, output, found, options } of cases) {
  test(`vector: ${name}`, () => {
    const redactor = new Redactor(sharedRules(), options);

    assert.deepEqual(redact(redactor, place, input), { out: output, found });
    if (!options) assert.deepEqual(redact(redactor, place, output), { out: output, found: [] }, 'a second pass changes something');
  });
}

const HOSTILE = [
  'a'.repeat(100_000), 'password='.repeat(20_000), 'password="'.repeat(20_000), 'eyJ'.repeat(40_000), 'eyJaaaaaa.'.repeat(20_000),
  '4111 '.repeat(20_000), '4'.repeat(100_000), '://'.repeat(40_000), '://a:'.repeat(20_000), 'insert into x('.repeat(10_000),
  '-----BEGIN PRIVATE KEY-----'.repeat(4_000), '<password>'.repeat(20_000), '--password '.repeat(10_000), `password='${'\\'.repeat(100_000)}`,
  `${'key'.repeat(30_000)} :`, 'key'.repeat(30_000), 'eyJaaaaaa'.repeat(10_000), `https://u:${'p'.repeat(100_000)}`, `<a>${'b'.repeat(100_000)}`,
  `-----BEGIN PRIVATE KEY-----${'-a'.repeat(50_000)}`, 'password '.repeat(20_000), "[parameters: '".repeat(10_000), 'identified '.repeat(10_000),
  'sk-'.repeat(30_000), 'DE89'.repeat(20_000), 'a@a.'.repeat(20_000),
];

test('time is linear in the input', { timeout: 60_000 }, (t) => {
  const redactor = new Redactor(sharedRules(), { enable: ['email', 'iban'] });
  for (const text of HOSTILE) {
    const start = performance.now();
    redact(redactor, 'text', text); // a quadratic pattern takes minutes, which is the time-out
    t.diagnostic(`${text.slice(0, 16)} ${(performance.now() - start).toFixed(1)} ms`);
  }
});
