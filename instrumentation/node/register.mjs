// node --import otel-ingest-instrumentation/register app.mjs
// The hook lets instrumentations see what `import` loads; --require alone sees `require` only.

import { register } from 'node:module';

register('@opentelemetry/instrumentation/hook.mjs', import.meta.url);
await import('./register.js');
