'use strict';
// The metrics of the last interval when the process ends by process.exit or an exception: the SDK collects them behind promises,
// which an exit handler does not live to see. This walks the SDK's own stores instead, in one go.

/** What a callback observes, as the SDK's stores read it. */
class Observed {
  constructor() {
    this.values = new Map();
  }

  /** @param {number} value @param {Record<string, any>} [attributes] */
  observe(value, attributes = {}) {
    this.values.set(attributes, value);
  }
}

class BatchObserved {
  constructor() {
    /** @type {Map<any, Observed>} */
    this.instruments = new Map();
  }

  /** @param {any} instrument @param {number} value @param {Record<string, any>} [attributes] */
  observe(instrument, value, attributes) {
    const own = this.instruments.get(instrument) ?? new Observed();
    this.instruments.set(instrument, own);
    own.observe(value, attributes);
  }
}

/** @param {() => void} work a callback of the application's, or a store; one that fails costs only itself */
function alone(work) {
  try {
    work();
  } catch {
    // as in the SDK's own collection, whose errors are counted and left
  }
}

/** @param {any} instrument @param {Observed} observed @param {[number, number]} time */
function record(instrument, observed, time) {
  for (const storage of instrument._metricStorages) storage.record(observed.values, time);
}

/** Ask observable instruments; what a callback only says later is not heard any more. @param {any} registry @param {[number, number]} time */
function observe(registry, time) {
  for (const { callback, instrument } of registry._callbacks) {
    alone(() => {
      const observed = new Observed();
      callback(observed);
      record(instrument, observed, time);
    });
  }
  for (const { callback } of registry._batchCallbacks) {
    alone(() => {
      const observed = new BatchObserved();
      callback(observed);
      for (const [instrument, own] of observed.instruments) record(instrument, own, time);
    });
  }
}

/**
 * Collect a reader's metrics, now.
 * @param {any} reader @returns {any} ResourceMetrics
 * @throws {TypeError} when the SDK's stores are not what they were
 */
function collectNow(reader) {
  const collector = reader._sdkMetricProducer;
  const now = Date.now();
  const time = /** @type {[number, number]} */ ([Math.trunc(now / 1000), (now % 1000) * 1e6]);
  const scopeMetrics = [];
  for (const meter of collector._sharedState.meterSharedStates.values()) {
    observe(meter.observableRegistry, time);
    /** @type {any[]} */
    const metrics = [];
    for (const storage of meter.metricStorageRegistry.getStorages(collector)) alone(() => metrics.push(storage.collect(collector, time)));
    const some = metrics.filter(Boolean);
    if (some.length) scopeMetrics.push({ scope: meter._instrumentationScope, metrics: some });
  }
  return { resource: collector._sharedState.resource, scopeMetrics };
}

module.exports = { collectNow };
