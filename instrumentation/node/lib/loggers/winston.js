'use strict';
// winston: a record is kept where it enters the logger, after the logger's own format, so that neither a slow transport nor an
// early exit loses it, and with the context of the call.

const { InstrumentationBase, InstrumentationNodeModuleDefinition, InstrumentationNodeModuleFile } = require('@opentelemetry/instrumentation');
const { SEVERITIES } = require('../levels');
const { emit, exceptionAttributes } = require('./emit');
const { plain } = require('./plain');

const VERSIONS = ['>=3 <4'];
const LEVEL = Symbol.for('level');
const DROPPED = new Set(['level', 'message', 'timestamp', 'trace_id', 'span_id', 'trace_flags', 'stack']);
const NAMES = ['logger', 'label', 'name']; // the keys under which applications name a winston logger, which has no name of its own

/** @type {Readonly<Record<string, number>>} the names of npm, syslog and cli levels, and of the usual own ones */
const SEVERITY = Object.freeze({
  emerg: 23, alert: 22, crit: 18, fatal: SEVERITIES.FATAL, error: SEVERITIES.ERROR, warn: SEVERITIES.WARN, warning: SEVERITIES.WARN,
  notice: 10, help: 11, data: 10, info: SEVERITIES.INFO, http: 7, verbose: 6, debug: SEVERITIES.DEBUG,
  prompt: 4, input: 2, silly: SEVERITIES.TRACE, trace: SEVERITIES.TRACE,
});

class WinstonAdapter extends InstrumentationBase {
  /** @param {import('../levels').Levels} levels */
  constructor(levels) {
    super('otel-ingest-instrumentation/winston', '0', {});
    this.levels = levels;
  }

  init() {
    const file = new InstrumentationNodeModuleFile('winston/lib/winston/logger.js', VERSIONS, (Logger) => {
      patch(Logger.prototype, this.levels);
      return Logger;
    }, () => {});
    return [new InstrumentationNodeModuleDefinition('winston', VERSIONS, (exports) => exports, () => {}, [file])];
  }
}

/** @param {any} proto @param {import('../levels').Levels} levels */
function patch(proto, levels) {
  const { write, isLevelEnabled } = proto;
  proto.write = function (/** @type {any} */ info, /** @type {any[]} */ ...rest) {
    try {
      consider(this, info, levels);
    } catch {
      // a format of the application's that throws will tell it so itself
    }
    return write.call(this, info, ...rest);
  };
  proto.isLevelEnabled = function (/** @type {string} */ level) {
    return isLevelEnabled.call(this, level) || (!levels.idle && levels.would(nameOf(this, {}), severityOf(this, level)));
  };
}

/** @param {any} logger @param {string} level */
function severityOf(logger, level) {
  if (level in SEVERITY) return SEVERITY[level];
  const numbers = Object.values(logger.levels ?? {}).map(Number);
  const share = (logger.levels?.[level] ?? 0) / Math.max(...numbers, 1); // own levels: from the most important down
  return Math.round(SEVERITIES.FATAL - share * (SEVERITIES.FATAL - SEVERITIES.TRACE));
}

/** @param {any} logger @param {any} info @returns {string} */
function nameOf(logger, info) {
  for (const key of NAMES) {
    const name = info[key] ?? logger.defaultMeta?.[key];
    if (typeof name === 'string' && name) return name;
  }
  return 'winston';
}

/** @param {any} logger @param {any} info @param {import('../levels').Levels} levels */
function consider(logger, info, levels) {
  const level = info?.[LEVEL] ?? info?.level;
  if (logger.silent || level === undefined) return;
  const enabled = !(logger.levels[level] > highest(logger));
  const severity = severityOf(logger, level);
  if (levels.idle ? !enabled : !levels.wants(nameOf(logger, info), severity, enabled)) return;
  const copy = Object.assign({}, info);
  if (info instanceof Error) Object.assign(copy, { message: info.message, stack: info.stack });
  const record = logger.format.transform(copy, logger.format.options);
  if (!record) return; // the application's format filters it out
  const error = Object.values(record).find((value) => value instanceof Error);
  /** @type {Record<string, any>} */
  const attributes = {};
  for (const key of Object.keys(record)) if (!DROPPED.has(key) && (error === undefined || record[key] !== error)) attributes[key] = record[key];
  const thrown = error ?? (info instanceof Error ? info : record.stack ? { message: record.message, stack: record.stack, name: 'Error' } : undefined);
  if (thrown) Object.assign(attributes, exceptionAttributes(thrown));
  emit(nameOf(logger, info), severity, plain(record.message), plain(attributes));
}

/** The least important level that any of the logger's outputs takes. @param {any} logger @returns {number} */
function highest(logger) {
  let most = logger.levels[logger.level];
  for (const transport of logger.transports ?? []) most = Math.max(most ?? -1, logger.levels[transport.level] ?? -1);
  return most ?? Infinity;
}

module.exports = { WinstonAdapter };
