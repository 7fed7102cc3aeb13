'use strict';
// For applications that cannot be started with `--require otel-ingest-instrumentation/register`: call start() before anything else.

const { start } = require('./lib/sdk');

module.exports = { start };
