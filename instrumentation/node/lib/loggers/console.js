'use strict';
// The console as a logger named "console". debug and trace are below INFO, the level at which it is kept by default (OTEL_INGEST_CLIENT_LEVEL).

const { format } = require('node:util');
const { context } = require('@opentelemetry/api');
const { isTracingSuppressed } = require('@opentelemetry/core');
const { SEVERITIES } = require('../levels');
const { emit, exceptionAttributes } = require('./emit');

const NAME = 'console';
const METHODS = Object.freeze({
  trace: SEVERITIES.TRACE,
  debug: SEVERITIES.DEBUG,
  log: SEVERITIES.INFO,
  info: SEVERITIES.INFO,
  warn: SEVERITIES.WARN,
  error: SEVERITIES.ERROR,
});

/**
 * Keep a copy of what the application prints. What is printed while we send, or inside of this, is not taken.
 * @param {import('../levels').Levels} levels @param {string} level from which on it is kept; another word: all of it
 */
function watchConsole(levels, level) {
  let inside = false;
  const least = /** @type {any} */ (SEVERITIES)[level] ?? 0;
  for (const [method, severity] of Object.entries(METHODS)) {
    const original = /** @type {any} */ (console)[method];
    /** @type {any} */ (console)[method] = function (/** @type {any[]} */ ...args) {
      original.apply(this, args);
      if (inside || !levels.wants(NAME, severity, severity >= least) || isTracingSuppressed(context.active())) return;
      inside = true;
      try {
        const error = args.find((arg) => arg instanceof Error);
        emit(NAME, severity, format(...args), error ? exceptionAttributes(error) : {});
      } catch {
        // the application printed its line; a copy that cannot be made is not its concern
      } finally {
        inside = false;
      }
    };
  }
}

module.exports = { watchConsole };
