'use strict';
// One request in full (docs/x-trace-log.md): who may ask for it, how the wish travels, and how much it may cost.

const { createHmac, timingSafeEqual } = require('node:crypto');
const { propagation, trace } = require('@opentelemetry/api');
const { VERBOSE } = require('./levels');

const KEY = 'x-trace-log';
const AHEAD_S_MAX = 24 * 3600; // a token that leaks is of no use the day after
const OPEN_MS = 15 * 60_000; // after the last such request the gates close; a longer request is logged as any other from then on
const TOKEN = /^v1\.([0-9]{1,12})\.([A-Za-z0-9_-]{43})$/;
const NEAR = /^(?:localhost|127(?:\.\d+){3}|10(?:\.\d+){3}|192\.168(?:\.\d+){2}|172\.(?:1[6-9]|2\d|3[01])(?:\.\d+){2}|169\.254(?:\.\d+){2}|\[?(?:::1|f[cd][0-9a-f]{2}:.*|fe[89ab][0-9a-f]:.*)\]?|[^.:]+|.*\.(?:local|internal|svc|cluster\.local))$/i;

/**
 * @typedef {{value: string, left: number, told: boolean}} Mark what a marked context holds; shared by all contexts of the request
 *
 * @typedef {object} VerboseOptions
 * @property {'off' | 'token' | 'open'} header
 * @property {string} secret
 * @property {number} recordsMax
 * @property {readonly string[]} hosts that may learn of it; none: those near
 * @property {() => number} [now] Unix milliseconds
 */

/** @param {string} secret @param {number | string} expires Unix seconds @returns {string} a token */
function signToken(secret, expires) {
  const signature = createHmac('sha256', secret).update(`otel-ingest ${KEY} v1.${expires}`).digest('base64url');
  return `v1.${expires}.${signature}`;
}

class Verbose {
  /** @param {VerboseOptions} options @param {import('./levels').Levels} levels */
  constructor({ header, secret, recordsMax, hosts, now = Date.now }, levels) {
    this.header = header;
    this.secret = secret;
    this.recordsMax = recordsMax;
    this.hosts = hosts;
    this.now = now;
    this.levels = levels;
    /** @type {NodeJS.Timeout | undefined} */
    this.timer = undefined;
  }

  /** Whether a header or a baggage entry is a wish that counts. @param {string | undefined} value */
  valid(value) {
    if (!value || this.header === 'off') return false;
    if (this.header === 'open' && value.toLowerCase() === 'true') return true;
    const token = TOKEN.exec(value);
    if (!token || !this.secret) return false;
    const [, expires, signature] = token;
    const left = Number(expires) - this.now() / 1000;
    const own = signToken(this.secret, expires).slice(-signature.length);
    return timingSafeEqual(Buffer.from(signature), Buffer.from(own)) && left > 0 && left <= AHEAD_S_MAX;
  }

  /** The context of a request that is to be logged in full, or the same context without a wish that does not count.
   * @param {import('@opentelemetry/api').Context} ctx @param {string | undefined} header */
  mark(ctx, header) {
    const baggage = propagation.getBaggage(ctx);
    const entry = baggage?.getEntry(KEY)?.value;
    const value = [header, entry].find((candidate) => this.valid(candidate));
    if (value === undefined) return baggage && entry !== undefined ? propagation.setBaggage(ctx, baggage.removeEntry(KEY)) : ctx;
    this.#open();
    const carried = (baggage ?? propagation.createBaggage()).setEntry(KEY, { value });
    /** @type {Mark} */
    const mark = { value, left: this.recordsMax, told: false };
    return propagation.setBaggage(ctx, carried).setValue(VERBOSE, mark);
  }

  /** Let loggers look for marks, for a while. */
  #open() {
    this.levels.setVerbose(true);
    this.timer ??= setTimeout(() => {
      this.timer = undefined;
      this.levels.setVerbose(false);
    }, OPEN_MS);
    this.timer.refresh();
    this.timer.unref();
  }

  /** Whether the target of the span in a context may learn of the wish. @param {import('@opentelemetry/api').Context} ctx */
  mayLearn(ctx) {
    const host = targetOf(/** @type {any} */ (trace.getSpan(ctx))?.attributes ?? {});
    if (host === undefined) return true;
    if (this.hosts.length === 0) return NEAR.test(host);
    return this.hosts.some((allowed) => (allowed.startsWith('*.') ? host.endsWith(allowed.slice(1)) : host === allowed));
  }
}

/** @param {Record<string, any>} attributes of a client's span @returns {string | undefined} */
function targetOf(attributes) {
  const host = attributes['server.address'] ?? attributes['net.peer.name'] ?? attributes['http.host'];
  if (typeof host === 'string') return host.replace(/:\d+$/, '').toLowerCase();
  try {
    return new URL(attributes['url.full'] ?? attributes['http.url']).hostname.toLowerCase();
  } catch {
    return undefined;
  }
}

/** A propagator around those that the environment names. */
class VerbosePropagator {
  /** @param {Verbose} verbose @param {import('@opentelemetry/api').TextMapPropagator} inner */
  constructor(verbose, inner) {
    this.verbose = verbose;
    this.inner = inner;
  }

  /** @param {import('@opentelemetry/api').Context} ctx @param {any} carrier @param {import('@opentelemetry/api').TextMapGetter} getter */
  extract(ctx, carrier, getter) {
    const found = getter.get(carrier, KEY);
    const header = Array.isArray(found) ? found[0] : found;
    return this.verbose.mark(this.inner.extract(ctx, carrier, getter), header === undefined ? undefined : String(header).trim());
  }

  /** @param {import('@opentelemetry/api').Context} ctx @param {any} carrier @param {import('@opentelemetry/api').TextMapSetter} setter */
  inject(ctx, carrier, setter) {
    const mark = /** @type {Mark | undefined} */ (ctx.getValue(VERBOSE));
    if (mark && this.verbose.mayLearn(ctx)) {
      setter.set(carrier, KEY, mark.value);
      this.inner.inject(ctx, carrier, setter);
      return;
    }
    const baggage = mark && propagation.getBaggage(ctx);
    this.inner.inject(baggage ? propagation.setBaggage(ctx, baggage.removeEntry(KEY)) : ctx, carrier, setter);
  }

  fields() {
    return [...this.inner.fields(), KEY];
  }
}

/** A sampler that takes every span of a marked context, and asks another for the rest. @param {any} inner */
function verboseSampler(inner) {
  return {
    /** @param {import('@opentelemetry/api').Context} ctx @param {any[]} rest */
    shouldSample(ctx, ...rest) {
      if (!ctx.getValue(VERBOSE)) return inner.shouldSample(ctx, ...rest);
      return { decision: 2, traceState: trace.getSpanContext(ctx)?.traceState }; // RECORD_AND_SAMPLED
    },
    toString: () => `Verbose{${inner}}`,
  };
}

module.exports = { Verbose, VerbosePropagator, signToken, verboseSampler };
