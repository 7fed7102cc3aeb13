'use strict';
// The few OpAMP messages of docs/opamp.md, to and from protobuf.

const { randomBytes } = require('node:crypto');
const { Writer, bytesOf, fields, numberOf } = require('./protobuf');

const CAPABILITIES = 0x1 + 0x2 + 0x4 + 0x1000; // ReportsStatus, AcceptsRemoteConfig, ReportsEffectiveConfig, ReportsRemoteConfig
const STATUS = Object.freeze({ APPLIED: 1, FAILED: 3 });
const REPORT_FULL_STATE = 0x1;
const CONFIG_KEY = 'log_levels';

/**
 * @typedef {object} Outgoing
 * @property {Uint8Array} uid
 * @property {number} sequence
 * @property {{identifying: Record<string, any>, other: Record<string, any>}} [description]
 * @property {{hash: Uint8Array, status: number, error?: string}} [remoteStatus]
 * @property {unknown} [effective] JSON
 * @property {boolean} [disconnect]
 *
 * @typedef {object} Incoming
 * @property {boolean} reportFullState
 * @property {{hash: Buffer, body: Buffer | undefined}} [remoteConfig] body: of the key log_levels
 * @property {string} [error]
 */

/** UUID v7, 16 bytes. @returns {Uint8Array} */
function instanceUid() {
  const uid = randomBytes(16);
  uid.writeUIntBE(Date.now(), 0, 6);
  uid[6] = 0x70 | (uid[6] & 0x0f);
  uid[8] = 0x80 | (uid[8] & 0x3f);
  return uid;
}

/** @param {Record<string, any>} attributes */
function keyValues(attributes) {
  return Object.entries(attributes).filter(([, value]) => value !== undefined).map(([key, value]) => {
    const any = typeof value === 'number' ? new Writer().number(3, value) : new Writer().bytes(1, String(value));
    return new Writer().bytes(1, key).message(2, any);
  });
}

/** @param {Outgoing} message @returns {Buffer} AgentToServer */
function encodeAgentToServer({ uid, sequence, description, remoteStatus, effective, disconnect }) {
  const out = new Writer().bytes(1, uid).number(2, sequence);
  if (description) {
    const inner = new Writer();
    for (const pair of keyValues(description.identifying)) inner.message(1, pair);
    for (const pair of keyValues(description.other)) inner.message(2, pair);
    out.message(3, inner);
  }
  out.number(4, CAPABILITIES);
  if (effective !== undefined) {
    const file = new Writer().bytes(1, JSON.stringify(effective)).bytes(2, 'application/json');
    const map = new Writer().message(1, new Writer().bytes(1, CONFIG_KEY).message(2, file));
    out.message(6, new Writer().message(1, map));
  }
  if (remoteStatus) {
    out.message(7, new Writer().bytes(1, remoteStatus.hash).number(2, remoteStatus.status).bytes(3, remoteStatus.error || undefined));
  }
  if (disconnect) out.message(9, new Writer());
  return out.finish();
}

/** @param {Uint8Array} bytes ServerToAgent @returns {Incoming} @throws {RangeError} */
function decodeServerToAgent(bytes) {
  const list = fields(bytes);
  const error = bytesOf(list, 2);
  const remote = bytesOf(list, 3);
  return {
    reportFullState: (numberOf(list, 6) & REPORT_FULL_STATE) !== 0,
    remoteConfig: remote && remoteConfigOf(remote),
    error: error && String(bytesOf(fields(error), 2) ?? 'refused'),
  };
}

/** @param {Buffer} bytes AgentRemoteConfig */
function remoteConfigOf(bytes) {
  const list = fields(bytes);
  const map = bytesOf(list, 1);
  /** @type {Buffer | undefined} */
  let body;
  for (const entry of map ? fields(map).filter((f) => f.field === 1) : []) {
    const pair = fields(/** @type {Buffer} */ (entry.value));
    if (String(bytesOf(pair, 1)) === CONFIG_KEY) body = bytesOf(fields(bytesOf(pair, 2) ?? Buffer.alloc(0)), 1);
  }
  return { hash: bytesOf(list, 2) ?? Buffer.alloc(0), body };
}

module.exports = { STATUS, decodeServerToAgent, encodeAgentToServer, instanceUid };
