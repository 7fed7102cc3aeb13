'use strict';
// What the logger adapters share: named OpenTelemetry loggers, and the attributes of an exception.

const { logs } = require('@opentelemetry/api-logs');
const { severityText } = require('../levels');

/** @type {Map<string, import('@opentelemetry/api-logs').Logger>} */
const loggers = new Map();
const LOGGERS_MAX = 1000; // names made up per request must not grow this

/** The logger whose scope bears the name that the application gave its own. @param {string} name */
function loggerOf(name) {
  let logger = loggers.get(name);
  if (!logger) {
    if (loggers.size >= LOGGERS_MAX) loggers.clear();
    logger = logs.getLogger(name);
    loggers.set(name, logger);
  }
  return logger;
}

let lastMs = 0;
let sameMs = 0;

/** Now, with a microsecond for each record of the same millisecond, so that they stay in order. @returns {[number, number]} */
function timestamp() {
  const now = Date.now();
  if (now === lastMs) sameMs = Math.min(sameMs + 1, 999);
  else {
    lastMs = now;
    sameMs = 0;
  }
  return [Math.floor(now / 1000), (now % 1000) * 1_000_000 + sameMs * 1000];
}

/**
 * @param {string} name @param {number} severity @param {any} body @param {Record<string, any>} attributes @param {string} [eventName]
 */
function emit(name, severity, body, attributes, eventName) {
  const time = timestamp();
  loggerOf(name).emit({ timestamp: time, observedTimestamp: time, severityNumber: severity, severityText: severityText(severity), body, attributes, eventName });
}

/** @param {any} error an Error, or its serialised form @returns {Record<string, string>} */
function exceptionAttributes(error) {
  /** @type {Record<string, string>} */
  const attributes = {};
  const type = error.type ?? error.constructor?.name ?? error.name;
  if (type) attributes['exception.type'] = String(type === 'Object' ? error.name ?? 'Error' : type);
  if (error.message !== undefined) attributes['exception.message'] = String(error.message);
  if (error.stack) attributes['exception.stacktrace'] = String(error.stack);
  return attributes;
}

module.exports = { emit, exceptionAttributes };
