'use strict';
// One encoded export request on its way: redacted already, named once, the same bytes on every attempt.

const { randomUUID } = require('node:crypto');

/**
 * @typedef {object} Batch
 * @property {string} id UUID; the receiver stores a named batch once
 * @property {import('./signals').SignalName} signal
 * @property {'protobuf' | 'json'} encoding
 * @property {Uint8Array} body
 * @property {number} records log records, spans or metric points
 * @property {number} createdMs
 * @property {string} [entry] its file in the spool, where it has one
 */

/**
 * @param {import('./signals').SignalName} signal @param {'protobuf' | 'json'} encoding
 * @param {Uint8Array} body @param {number} records
 * @returns {Batch}
 */
function newBatch(signal, encoding, body, records) {
  return { id: randomUUID(), signal, encoding, body, records, createdMs: Date.now() };
}

module.exports = { newBatch };
