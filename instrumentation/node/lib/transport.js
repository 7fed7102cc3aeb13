'use strict';
// One attempt to hand one batch to its receiver, and what the answer means. Retries are the business of delivery.js.

const { createRequire } = require('node:module');
const { promisify } = require('node:util');
const zlib = require('node:zlib');
const { ROOT_CONTEXT, context } = require('@opentelemetry/api');
const { suppressTracing } = require('@opentelemetry/core');
const { convertLegacyHttpOptions } = require('@opentelemetry/otlp-exporter-base/node-http');
const { convertLegacyOtlpGrpcOptions } = require('@opentelemetry/otlp-grpc-exporter-base');
const { jsonToProtobuf } = require('./json-to-protobuf');
const { bytesOf, fields, numberOf } = require('./protobuf');
const { route } = require('./proxy');
const { SIGNALS } = require('./signals');

/**
 * @typedef {object} Answer
 * @property {'ok' | 'retry' | 'split' | 'refused'} kind
 * @property {string} [detail] for people
 * @property {number} [retryAfterMs] what the receiver asked for
 * @property {number} [rejected] records that a partial success leaves out
 * @property {string} [configHash] the receiver's hash of this component's levels
 *
 * @typedef {object} Transport
 * @property {string} endpoint for people
 * @property {'http' | 'grpc'} protocol
 * @property {'protobuf' | 'json'} encoding
 * @property {(batch: import('./batch').Batch, timeoutMs?: number) => Promise<Answer>} send never rejects
 * @property {() => void} close
 */

const BATCH_ID_HEADER = 'x-otel-ingest-batch-id';
const CONFIG_HEADER = 'x-otel-ingest-config';
const ANSWER_BYTES_MAX = 64 * 1024; // an answer holds a sentence; more is not for us
const RETRY_AFTER_MS_MAX = 300_000; // a receiver may not silence its senders for longer than that
// As the OTLP specification lists them, and UNKNOWN and INTERNAL: the gRPC names of an HTTP 500.
const GRPC_RETRY = new Set([1, 2, 4, 8, 10, 11, 13, 14, 15]);
const TYPES = { protobuf: 'application/x-protobuf', json: 'application/json' };
const gzip = promisify(zlib.gzip);

/** @param {string | undefined} header @returns {number | undefined} milliseconds, bounded */
function retryAfterMs(header) {
  if (!header) return undefined;
  const wait = /^\d+$/.test(header.trim()) ? Number(header) * 1000 : Date.parse(header) - Date.now();
  return Number.isFinite(wait) ? Math.min(Math.max(wait, 0), RETRY_AFTER_MS_MAX) : undefined;
}

/**
 * @param {import('./signals').Signal} signal @param {'protobuf' | 'json'} encoding @param {Buffer} body
 * @returns {Pick<Answer, 'rejected' | 'detail'>}
 */
function partialSuccess(signal, encoding, body) {
  try {
    const partial = body.length ? signal[encoding].deserializeResponse(body)?.partialSuccess : undefined;
    return partial ? { rejected: Number(partial[signal.rejected] ?? 0), detail: partial.errorMessage } : {};
  } catch {
    return {}; // the status said that it is stored
  }
}

/** @param {number} status @param {string} text @param {string | undefined} retryAfter @returns {Answer} */
function httpAnswer(status, text, retryAfter) {
  const detail = `HTTP ${status}${text ? `: ${text.slice(0, 200)}` : ''}`;
  if (status === 413) return { kind: 'split', detail };
  if (status === 408 || status === 429 || status >= 500) return { kind: 'retry', detail, retryAfterMs: retryAfterMs(retryAfter) };
  return { kind: 'refused', detail: status < 400 ? `${detail} (no redirect is followed)` : detail };
}

/**
 * @param {import('node:http').ClientRequest} request @param {Buffer | Uint8Array} body @param {number} timeoutMs
 * @returns {Promise<{status: number, headers: import('node:http').IncomingHttpHeaders, body: Buffer}>}
 */
function exchange(request, body, timeoutMs) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => request.destroy(new Error(`no answer within ${timeoutMs} ms`)), timeoutMs);
    timer.unref();
    request.on('socket', (socket) => socket.unref()); // an export under way keeps no process alive; exit.js gives it its time
    request.on('error', (error) => {
      clearTimeout(timer);
      reject(error);
    });
    request.on('response', (response) => {
      /** @type {Buffer[]} */
      const chunks = [];
      let size = 0;
      response.on('data', (chunk) => {
        size += chunk.length;
        if (size <= ANSWER_BYTES_MAX) chunks.push(chunk);
        else response.destroy();
      });
      response.on('close', () => {
        clearTimeout(timer);
        resolve({ status: response.statusCode ?? 0, headers: response.headers, body: Buffer.concat(chunks) });
      });
    });
    request.end(body);
  });
}

/**
 * POST to what OTEL_EXPORTER_OTLP_* says, with its headers, certificates and time-out.
 * @param {string} env part of the variables' names @param {string} path @param {string} type @param {string} [url] instead of the endpoint
 */
function httpClient(env, path, type, url) {
  const options = convertLegacyHttpOptions({ url }, env, path, { 'Content-Type': type });
  const target = new URL(options.url);
  /** @type {Promise<ReturnType<typeof route>> | undefined} */
  let way;
  return {
    url: options.url,
    timeoutMs: options.timeoutMillis,
    compressed: options.compression === 'gzip',
    close: () => void way?.then(({ options: { agent } }) => /** @type {import('node:http').Agent} */ (agent).destroy()),
    /** @param {Uint8Array} body @param {Record<string, string>} extra @param {number} timeoutMs */
    async post(body, extra, timeoutMs) {
      way ??= Promise.resolve(options.agentFactory(target.protocol)).then((agent) => route(target, agent, process.env));
      const { url: at, options: by } = await way;
      const headers = { ...by.headers, ...(await options.headers()), 'User-Agent': 'otel-ingest-instrumentation-node', 'Content-Length': body.length, ...extra };
      const { request } = at.protocol === 'https:' ? require('node:https') : require('node:http');
      const settled = { ...by, method: 'POST', headers };
      return context.with(suppressTracing(ROOT_CONTEXT), () => exchange(request(at, settled), body, timeoutMs));
    },
  };
}

/** @param {import('./signals').Signal} signal @param {'protobuf' | 'json'} encoding @returns {Transport} */
function httpTransport(signal, encoding) {
  const client = httpClient(signal.env, signal.path, TYPES[encoding]);
  return {
    endpoint: client.url,
    protocol: 'http',
    encoding,
    close: client.close,
    async send(batch, timeoutMs = client.timeoutMs) {
      try {
        const body = client.compressed ? await gzip(batch.body) : batch.body;
        const extra = { 'Content-Type': TYPES[batch.encoding], [BATCH_ID_HEADER]: batch.id };
        const answer = await client.post(body, client.compressed ? { ...extra, 'Content-Encoding': 'gzip' } : extra, timeoutMs);
        const configHash = /** @type {string | undefined} */ (answer.headers[CONFIG_HEADER]);
        if (answer.status >= 200 && answer.status < 300) {
          return { kind: 'ok', configHash, ...partialSuccess(signal, batch.encoding, answer.body) };
        }
        const readable = /json|text/.test(answer.headers['content-type'] ?? '') ? answer.body.toString() : '';
        return { configHash, ...httpAnswer(answer.status, readable, answer.headers['retry-after']) };
      } catch (error) {
        return { kind: 'retry', detail: String(/** @type {Error} */ (error).message || error) };
      }
    },
  };
}

/** @param {any} error a gRPC ServiceError @returns {Answer} */
function grpcAnswer(error) {
  const detail = `gRPC ${error.code}: ${String(error.details ?? error.message).slice(0, 200)}`;
  if (!GRPC_RETRY.has(error.code)) return { kind: 'refused', detail };
  return { kind: 'retry', detail, retryAfterMs: retryInfoMs(error.metadata?.get('grpc-status-details-bin')?.[0]) };
}

/** @param {Buffer | undefined} status google.rpc.Status @returns {number | undefined} */
function retryInfoMs(status) {
  try {
    for (const detail of status ? fields(status).filter((f) => f.field === 3) : []) {
      const any = fields(/** @type {Buffer} */ (detail.value));
      if (!String(bytesOf(any, 1)).endsWith('google.rpc.RetryInfo')) continue;
      const delay = bytesOf(fields(bytesOf(any, 2) ?? Buffer.alloc(0)), 1);
      const parts = fields(delay ?? Buffer.alloc(0));
      return Math.min(numberOf(parts, 1) * 1000 + numberOf(parts, 2) / 1e6, RETRY_AFTER_MS_MAX);
    }
  } catch {
    // details that cannot be read are as good as none
  }
  return undefined;
}

/** @param {import('./signals').Signal} signal @returns {Transport} */
function grpcTransport(signal) {
  const options = convertLegacyOtlpGrpcOptions({}, signal.env);
  /** @type {any} */
  let client;
  /** @type {any} */
  let grpc;
  const asIs = (/** @type {Uint8Array} */ bytes) => Buffer.from(bytes);
  const call = (/** @type {import('./batch').Batch} */ batch, /** @type {number} */ timeoutMs) =>
    new Promise((resolve) => {
      // Loaded with the first export, after instrumentations had their chance to wrap it.
      grpc ??= createRequire(require.resolve('@opentelemetry/otlp-grpc-exporter-base'))('@grpc/grpc-js');
      client ??= new grpc.Client(options.url, options.credentials(), {
        'grpc.default_compression_algorithm': options.compression === 'gzip' ? 2 : 0,
      });
      const metadata = options.metadata().clone();
      metadata.set(BATCH_ID_HEADER, batch.id);
      /** @type {any} */
      let trailers;
      const under = client.makeUnaryRequest(signal.method, asIs, asIs, batch.body, metadata, { deadline: Date.now() + timeoutMs },
        (/** @type {any} */ error, /** @type {Buffer} */ body) => {
          // The status event, with the trailers, follows in the same turn.
          setImmediate(() => resolve({
            configHash: trailers?.get(CONFIG_HEADER)?.[0],
            ...(error ? grpcAnswer(error) : { kind: 'ok', ...partialSuccess(signal, 'protobuf', body) }),
          }));
        });
      under.on('status', (/** @type {any} */ status) => { trailers = status.metadata; });
    });
  return {
    endpoint: options.url,
    protocol: 'grpc',
    encoding: 'protobuf',
    close: () => client?.close(),
    async send(batch, timeoutMs = options.timeoutMillis) {
      try {
        // What waits on disk may be of a process that spoke JSON.
        const body = batch.encoding === 'json' ? jsonToProtobuf(batch.signal, batch.body) : batch.body;
        return await context.with(suppressTracing(ROOT_CONTEXT), () => call({ ...batch, body }, timeoutMs));
      } catch (error) {
        return { kind: 'retry', detail: String(/** @type {Error} */ (error).message || error) };
      }
    },
  };
}

/** The transport that OTEL_EXPORTER_OTLP_* asks for. @param {import('./signals').SignalName} name @returns {Transport} */
function transportFor(name) {
  const signal = SIGNALS[name];
  const env = process.env;
  const protocol = (env[`OTEL_EXPORTER_OTLP_${signal.env}_PROTOCOL`] || env.OTEL_EXPORTER_OTLP_PROTOCOL || '').trim();
  if (protocol === 'grpc') return grpcTransport(signal);
  return httpTransport(signal, protocol === 'http/json' ? 'json' : 'protobuf');
}

module.exports = { httpClient, transportFor };
