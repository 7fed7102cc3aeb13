'use strict';
// node --require otel-ingest-instrumentation/register app.js

const path = require('node:path');
const { workerData } = require('node:worker_threads');

// NODE_OPTIONS reaches package managers too, which are not the application; and our own thread at exit.
const TOOLS = ['npm', 'npm-cli.js', 'npx', 'npx-cli.js', 'yarn', 'yarn.js', 'pnpm', 'pnpm.cjs', 'pnpx', 'corepack', 'corepack.js'];

if (!TOOLS.includes(path.basename(process.argv[1] ?? '')) && !workerData?.otelIngestExit) require('./lib/sdk').start();
