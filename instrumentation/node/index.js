'use strict';
// For applications that cannot be started with `--require otel-ingest-instrumentation/register`: call start() before anything else.

const { start } = require('./lib/sdk');
const { signToken } = require('./lib/verbose');

/**
 * A value for the header X-Trace-Log (docs/x-trace-log.md).
 * @param {string} secret OTEL_INGEST_CLIENT_TRACE_SECRET @param {number} seconds that it holds, 86400 at most
 * @returns {string}
 */
function traceToken(secret, seconds) {
  return signToken(secret, Math.floor(Date.now() / 1000 + seconds));
}

module.exports = { start, traceToken };
