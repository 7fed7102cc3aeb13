'use strict';
// What the environment says, read once; a wrong value costs only itself, and is said. OTEL_* variables that the SDK reads itself
// are not here. The names and their meaning are those of the Python distribution.

const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { parseKeyPairsIntoRecord } = require('@opentelemetry/core');

const MIB = 1024 * 1024;
const PREFIX = 'OTEL_INGEST_CLIENT_';
const REDACTION_KEYS = ['mode', 'names', 'allow', 'only', 'enable', 'disable', 'patterns'];

/** @typedef {{queueMax: number, batchMax: number, delayMs: number}} Sizes */
/** @typedef {(sentence: string) => void} Say */

/** @param {NodeJS.ProcessEnv} env @param {string} name @param {number} fallback @param {Say} [say] a number above zero, or `fallback` */
function number(env, name, fallback, say = () => {}) {
  const raw = (env[name] ?? '').trim();
  const value = Number(raw);
  if (raw && Number.isFinite(value) && value > 0) return value;
  if (raw) say(`${name}=${raw} is no sensible number; ${fallback} holds`);
  return fallback;
}

/** @template {string} T @param {NodeJS.ProcessEnv} env @param {string} name @param {readonly T[]} allowed @param {T} fallback @param {Say} say */
function choice(env, name, allowed, fallback, say) {
  const raw = (env[name] ?? '').trim().toLowerCase();
  const found = allowed.find((word) => word === raw);
  if (raw && !found) say(`${name}=${raw} is none of ${allowed.join(', ')}; ${fallback} holds`);
  return found ?? fallback;
}

/** @param {NodeJS.ProcessEnv} env @param {string} name @returns {string[]} */
function words(env, name) {
  return (env[name] ?? '').split(',').map((word) => word.trim()).filter(Boolean);
}

/** service.namespace/service.name, as the server names components. @param {NodeJS.ProcessEnv} env */
function component(env) {
  const attributes = parseKeyPairsIntoRecord(env.OTEL_RESOURCE_ATTRIBUTES);
  const name = env.OTEL_SERVICE_NAME || attributes['service.name'] || 'unknown_service';
  const namespace = attributes['service.namespace'];
  return namespace ? `${namespace}/${name}` : name;
}

/** @param {NodeJS.ProcessEnv} env */
function spoolRoot(env) {
  if (env[`${PREFIX}SPOOL_DIR`]) return path.resolve(/** @type {string} */ (env[`${PREFIX}SPOOL_DIR`]));
  const home = env.HOME && env.HOME !== '/' ? path.join(env.HOME, '.local', 'state') : '';
  const state = env.XDG_STATE_HOME || home;
  return state ? path.join(state, 'otel-ingest', 'spool') : path.join(os.tmpdir(), `otel-ingest-${process.getuid?.() ?? 0}`, 'spool');
}

/** @param {NodeJS.ProcessEnv} env @param {'BSP' | 'BLRP'} kind @returns {Sizes} */
function sizes(env, kind) {
  const queueMax = number(env, `OTEL_${kind}_MAX_QUEUE_SIZE`, 2048);
  return {
    queueMax,
    batchMax: Math.min(number(env, `OTEL_${kind}_MAX_EXPORT_BATCH_SIZE`, 512), queueMax),
    delayMs: number(env, `OTEL_${kind}_SCHEDULE_DELAY`, 200), // 1 and 5 s in the SDK: too late to read along, and too much to lose
  };
}

/** "off", "on", or a URL. @param {NodeJS.ProcessEnv} env */
function opamp(env) {
  const wanted = (env[`${PREFIX}OPAMP`] || 'on').trim();
  if (wanted.toLowerCase() === 'off') return 'off';
  return wanted.toLowerCase() === 'on' ? env.OTEL_INGEST_OPAMP_ENDPOINT || 'on' : wanted;
}

/**
 * What a user wants redacted beyond the shared rules.
 * @param {NodeJS.ProcessEnv} env @returns {import('./redaction/engine').Options}
 * @throws {Error} when it cannot be read; then nothing may leave in clear
 */
function readRedaction(env) {
  const file = env[`${PREFIX}REDACT_RULES`];
  const raw = file ? JSON.parse(fs.readFileSync(file, 'utf8')) : {};
  if (typeof raw !== 'object' || raw === null || Object.keys(raw).some((key) => !REDACTION_KEYS.includes(key))) {
    throw new TypeError(`${file} is an object with any of ${REDACTION_KEYS.join(', ')}`);
  }
  const list = (/** @type {string} */ key) => [...words(env, `${PREFIX}REDACT_${key.toUpperCase()}`), ...(raw[key] ?? [])];
  return {
    mode: env[`${PREFIX}REDACT_MODE`] || raw.mode || 'mask',
    hash_key: env[`${PREFIX}REDACT_KEY`] || '',
    names: list('names'),
    allow: list('allow'),
    only: list('only'),
    enable: list('enable'),
    disable: list('disable'),
    patterns: (raw.patterns ?? []).map((/** @type {any} */ pattern) => ({ group: 0, ...pattern })),
    callable: callable(env[`${PREFIX}REDACT_CALLABLE`]),
  };
}

/** "./redact.js:name" or "package:name". @param {string | undefined} where */
function callable(where) {
  if (!where) return undefined;
  const at = where.lastIndexOf(':');
  const found = require(require.resolve(where.slice(0, at), { paths: [process.cwd()] }))[where.slice(at + 1)];
  if (typeof found !== 'function') throw new TypeError(`${where} is no function`);
  return found;
}

/**
 * @param {NodeJS.ProcessEnv} env @param {Say} say
 */
function readSettings(env, say) {
  const name = component(env);
  const secret = env[`${PREFIX}TRACE_SECRET`] ?? '';
  let header = choice(env, `${PREFIX}TRACE_HEADER`, /** @type {const} */ (['off', 'token', 'open']), secret ? 'token' : 'off', say);
  if (header === 'token' && !secret) {
    say(`${PREFIX}TRACE_HEADER=token needs ${PREFIX}TRACE_SECRET; it is off`);
    header = 'off';
  }
  return Object.freeze({
    component: name,
    spool: choice(env, `${PREFIX}SPOOL`, /** @type {const} */ (['on_failure', 'always', 'off']), 'on_failure', say),
    spoolDirectory: path.join(spoolRoot(env), name.replace(/[^A-Za-z0-9._-]/g, '_').replace(/^\.+/, '_')),
    spoolBytesMax: number(env, `${PREFIX}SPOOL_MB`, 512, say) * MIB, // the length of an outage that costs nothing
    spoolAgeMs: number(env, `${PREFIX}SPOOL_HOURS`, 48, say) * 3_600_000, // as long as the receiver knows what it has stored
    memoryBytesMax: number(env, `${PREFIX}MEMORY_MB`, 32, say) * MIB, // encoded batches
    exitMs: number(env, `${PREFIX}EXIT_S`, 2, say) * 1000, // network at exit; orchestrators kill after 10 s and more
    level: (env[`${PREFIX}LEVEL`] || 'INFO').trim().toUpperCase(), // of the console, which has none of its own
    opamp: opamp(env),
    traceHeader: header,
    traceSecret: secret,
    traceRecordsMax: number(env, `${PREFIX}TRACE_RECORDS`, 5000, say),
    traceHosts: words(env, `${PREFIX}TRACE_HOSTS`),
    logs: sizes(env, 'BLRP'),
    spans: sizes(env, 'BSP'),
  });
}

module.exports = { readSettings, readRedaction, number, words };
