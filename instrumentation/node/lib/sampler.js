'use strict';
// The sampler that OTEL_TRACES_SAMPLER names: the SDK makes its own from it, but does not hand it out to be wrapped.

const { diag } = require('@opentelemetry/api');

/** @returns {any} */
function samplerFromEnvironment() {
  const { tracing } = require('@opentelemetry/sdk-node');
  const name = (process.env.OTEL_TRACES_SAMPLER || 'parentbased_always_on').trim();
  const given = Number(process.env.OTEL_TRACES_SAMPLER_ARG || 1);
  const ratio = given >= 0 && given <= 1 ? given : 1;
  /** @type {Record<string, () => any>} */
  const made = {
    always_on: () => new tracing.AlwaysOnSampler(),
    always_off: () => new tracing.AlwaysOffSampler(),
    traceidratio: () => new tracing.TraceIdRatioBasedSampler(ratio),
  };
  const root = made[name.replace(/^parentbased_/, '')];
  if (!root) {
    diag.error(`OTEL_TRACES_SAMPLER: there is no sampler "${name}"`);
    return new tracing.ParentBasedSampler({ root: made.always_on() });
  }
  return name.startsWith('parentbased_') ? new tracing.ParentBasedSampler({ root: root() }) : root();
}

module.exports = { samplerFromEnvironment };
