'use strict';
// The composition: the SDK of OpenTelemetry, its instrumentations, and our ends for its pipelines, put together once a process.

const { createRequire } = require('node:module');
const { diag, metrics, propagation, trace } = require('@opentelemetry/api');
const { diagLogLevelFromString, getBooleanFromEnv, getStringFromEnv } = require('@opentelemetry/core');
const { detectResources, defaultResource, resourceFromAttributes } = require('@opentelemetry/resources');
const { format } = require('node:util');
const { Delivery } = require('./delivery');
const { Exit } = require('./exit');
const { collectNow } = require('./last-metrics');
const { Levels, SEVERITIES } = require('./levels');
const { emit, exceptionAttributes } = require('./loggers/emit');
const { OpampAgent } = require('./opamp');
const { Pipeline } = require('./pipeline');
const { LogProcessor, SpanProcessor, metricExporter } = require('./processors');
const { recordRedactor } = require('./redaction/records');
const { Report, critical, toStderr } = require('./report');
const { number, readRedaction, readSettings, words } = require('./settings');
const { Spool } = require('./spool');
const { samplerFromEnvironment } = require('./sampler');
const { httpClient, transportFor } = require('./transport');
const { Verbose, VerbosePropagator, verboseSampler } = require('./verbose');

const DETECTORS = 'host,os,process,serviceinstance,env'; // none that asks a cloud's metadata service; env last: it decides
const SELF = 'otel_ingest_instrumentation'; // the logger of what the distribution itself has to tell the receiver
const ADOPT_EVERY_MS = 60_000;

/** What the SDK says about itself goes to stderr, past the console that we watch. */
function diagToStderr() {
  const level = getStringFromEnv('OTEL_LOG_LEVEL');
  if (level === undefined) return;
  const say = (/** @type {string} */ word) => (/** @type {any[]} */ ...args) => toStderr(`otel ${word}: ${format(...args)}\n`);
  const logger = { error: say('error'), warn: say('warn'), info: say('info'), debug: say('debug'), verbose: say('verbose') };
  diag.setLogger(logger, { logLevel: diagLogLevelFromString(level), suppressOverrideMessage: true });
}

/** Take a word out of a list in the environment that others read too and would not know. @param {string} name @param {string} word */
function takeWord(name, word) {
  const list = words(process.env, name);
  if (!list.includes(word)) return false;
  process.env[name] = list.filter((w) => w !== word).join(',');
  return true;
}

/** @param {string} signal @returns {string[]} */
function exporterNames(signal) {
  const names = [...new Set(words(process.env, `OTEL_${signal}_EXPORTER`))];
  if (names.includes('none')) return [];
  return names.length ? names : ['otlp'];
}

/** Exporters that the SDK brings beside OTLP, by the names that it knows. @param {string} name */
function fromSdk(name) {
  return createRequire(require.resolve('@opentelemetry/sdk-node'))(name);
}

/** The parts of one process's instrumentation, not yet started. */
class Parts {
  constructor() {
    this.report = new Report();
    this.settings = readSettings(process.env, (sentence) => this.report.loud(sentence, sentence));
    this.levels = new Levels();
    const { settings, report } = this;
    this.transports = { logs: transportFor('logs'), traces: transportFor('traces'), metrics: transportFor('metrics') };
    this.delivery = new Delivery({
      transports: this.transports,
      spool: settings.spool === 'off' ? undefined : new Spool({ directory: settings.spoolDirectory, bytesMax: settings.spoolBytesMax, ageMs: settings.spoolAgeMs, report }),
      always: settings.spool === 'always',
      bytesMax: settings.memoryBytesMax,
      report,
      onConfigHash: (hash) => this.onConfigHash(hash),
      onLosses: (losses) => {
        for (const { sentence, attributes } of losses) emit(SELF, SEVERITIES.ERROR, sentence, attributes, 'otel_ingest.client.lost');
      },
    });
    this.lastMetrics = () => {};
    this.onConfigHash = (/** @type {string} */ _hash) => {};
    this.redactor = recordRedactor(() => readRedaction(process.env), report);
    this.logs = this.#pipeline('logs', (record) => this.redactor.logRecord(record), settings.logs);
    this.spans = this.#pipeline('traces', (span) => this.redactor.span(span), settings.spans);
    this.resource = defaultResource()
      .merge(resourceFromAttributes({ 'telemetry.distro.name': 'otel-ingest-instrumentation', 'telemetry.distro.version': require('../package.json').version }))
      .merge(detectResources({ detectors: detectors() }));
  }

  /** @param {'logs' | 'traces'} signal @param {(item: any) => any} redact @param {import('./settings').Sizes} sizes */
  #pipeline(signal, redact, sizes) {
    return new Pipeline({ signal, encoding: this.transports[signal].encoding, redact, delivery: this.delivery, sizes });
  }
}

function detectors() {
  const { getResourceDetectors } = require('@opentelemetry/auto-instrumentations-node');
  process.env.OTEL_NODE_RESOURCE_DETECTORS ||= DETECTORS;
  return getResourceDetectors();
}

/** @param {Parts} parts @returns {any[]} */
function spanProcessors(parts) {
  const { tracing } = require('@opentelemetry/sdk-node');
  return exporterNames('TRACES').flatMap(/** @returns {any[]} */ (name) => {
    if (name === 'otlp') return [new SpanProcessor(parts.spans)];
    if (name === 'console') return [new tracing.SimpleSpanProcessor(parts.redactor.spanExporter(new tracing.ConsoleSpanExporter()))];
    if (name === 'zipkin') {
      const { ZipkinExporter } = fromSdk('@opentelemetry/exporter-zipkin');
      return [new tracing.BatchSpanProcessor(parts.redactor.spanExporter(new ZipkinExporter()))];
    }
    diag.warn(`OTEL_TRACES_EXPORTER: there is no exporter "${name}"`);
    return [];
  });
}

/** @param {Parts} parts @returns {any[]} */
function logProcessors(parts) {
  const { logs } = require('@opentelemetry/sdk-node');
  return exporterNames('LOGS').flatMap(/** @returns {any[]} */ (name) => {
    if (name === 'otlp') return [new LogProcessor(parts.logs)];
    if (name === 'console') {
      return [new logs.SimpleLogRecordProcessor(/** @type {any} */ ({ exporter: parts.redactor.logExporter(new logs.ConsoleLogRecordExporter()) }))];
    }
    diag.warn(`OTEL_LOGS_EXPORTER: there is no exporter "${name}"`);
    return [];
  });
}

/** @param {Parts} parts */
function metricReaders(parts) {
  const { metrics: sdk } = require('@opentelemetry/sdk-node');
  const every = number(process.env, 'OTEL_METRIC_EXPORT_INTERVAL', 60_000);
  const timeout = Math.min(number(process.env, 'OTEL_METRIC_EXPORT_TIMEOUT', 30_000), every);
  const reader = (/** @type {any} */ exporter) =>
    new sdk.PeriodicExportingMetricReader({ exporter, exportIntervalMillis: every, exportTimeoutMillis: timeout });
  return exporterNames('METRICS').flatMap((name) => {
    if (name === 'otlp') {
      const exporter = metricExporter(parts.delivery, parts.transports.metrics.encoding, (m) => parts.redactor.metrics(m));
      const ours = reader(exporter);
      parts.lastMetrics = () => exporter.export(collectNow(ours), () => {});
      return [ours];
    }
    if (name === 'console') return [reader(new sdk.ConsoleMetricExporter())];
    if (name === 'prometheus') return [new (fromSdk('@opentelemetry/exporter-prometheus').PrometheusExporter)()];
    diag.warn(`OTEL_METRICS_EXPORTER: there is no exporter "${name}"`);
    return [];
  });
}

/** @param {Parts} parts */
function instrumentations(parts) {
  const { getNodeAutoInstrumentations } = require('@opentelemetry/auto-instrumentations-node');
  const enabled = words(process.env, 'OTEL_NODE_ENABLED_INSTRUMENTATIONS');
  const disabled = words(process.env, 'OTEL_NODE_DISABLED_INSTRUMENTATIONS');
  const on = (/** @type {string} */ name) => !disabled.includes(name) && (enabled.length === 0 || enabled.includes(name));
  takeWord('OTEL_NODE_ENABLED_INSTRUMENTATIONS', 'console');
  takeWord('OTEL_NODE_DISABLED_INSTRUMENTATIONS', 'console');
  const found = getNodeAutoInstrumentations({
    '@opentelemetry/instrumentation-pino': { disableLogSending: true }, // ours sends them
    '@opentelemetry/instrumentation-winston': { disableLogSending: true },
  });
  if (on('pino')) found.push(new (require('./loggers/pino').PinoAdapter)(parts.levels));
  if (on('winston')) found.push(new (require('./loggers/winston').WinstonAdapter)(parts.levels));
  if (on('console')) require('./loggers/console').watchConsole(parts.levels, parts.settings.level);
  return found;
}

/** Where levels come from; undefined where there is nobody to ask. @param {Parts} parts */
function opampAgent(parts) {
  const { opamp } = parts.settings;
  const grpcAlone = parts.transports.logs.protocol === 'grpc';
  if (opamp === 'off' || (opamp === 'on' && grpcAlone)) return undefined;
  const client = httpClient('OPAMP', 'v1/opamp', 'application/x-protobuf', opamp === 'on' ? undefined : opamp);
  const at = parts.resource.attributes;
  const agent = new OpampAgent({
    post: (body, timeoutMs, headers) => client.post(body, headers, timeoutMs),
    levels: parts.levels,
    description: {
      identifying: pick(at, ['service.name', 'service.namespace', 'service.instance.id']),
      other: { ...pick(at, ['process.pid', 'host.name']), 'telemetry.sdk.language': 'nodejs' },
    },
  });
  parts.onConfigHash = (hash) => agent.seen(hash);
  agent.start();
  return agent;
}

/** @param {Record<string, any>} attributes @param {string[]} keys */
function pick(attributes, keys) {
  return Object.fromEntries(keys.map((key) => [key, attributes[key]]));
}

/** @param {Parts} parts */
function verboseRequests({ settings, levels }) {
  levels.onExhausted = () => emit(SELF, SEVERITIES.WARN,
    `X-Trace-Log: ${settings.traceRecordsMax} records below their logger's level were made for this request; no more follow`, {});
  return new Verbose({ header: settings.traceHeader, secret: settings.traceSecret, recordsMax: settings.traceRecordsMax, hosts: settings.traceHosts }, levels);
}

/** Put ours around the propagators that the SDK made from OTEL_PROPAGATORS. @param {Verbose} verbose */
function propagate(verbose) {
  const inner = /** @type {any} */ (propagation)._getGlobalPropagator();
  propagation.disable();
  propagation.setGlobalPropagator(new VerbosePropagator(verbose, inner));
}

/** What was lost and what waits, as metrics of this process. @param {Parts} parts */
function observe({ report, delivery }) {
  const meter = metrics.getMeter(SELF);
  const lost = meter.createObservableCounter('otel_ingest.client.lost', { description: 'Records dropped by the client', unit: '{record}' });
  lost.addCallback((result) => {
    for (const [key, records] of report.counts) {
      const [outcome, signal] = key.split(' ');
      if (outcome === 'dropped') result.observe(records, { signal });
    }
  });
  const spool = meter.createObservableGauge('otel_ingest.client.spool', { description: 'Bytes spooled', unit: 'By' });
  spool.addCallback((result) => result.observe(delivery.spool?.bytes ?? 0));
}

/** @type {Parts | undefined} */
let started;

/**
 * Start, once a process; a second call does nothing. Never throws: an application runs without telemetry rather than not at all.
 * @returns {boolean} whether this process is instrumented
 */
function start() {
  if (started) return true;
  if (getBooleanFromEnv('OTEL_SDK_DISABLED')) return false;
  try {
    diagToStderr();
    started = new Parts();
    run(started);
    return true;
  } catch (error) {
    toStderr(critical(`this process is not instrumented: ${/** @type {Error} */ (error).stack}`));
    return false;
  }
}

/** @param {Parts} parts */
function run(parts) {
  if (process.env.OTEL_CONFIG_FILE) parts.report.loud('configuration file', 'OTEL_CONFIG_FILE is not read here: set OTEL_* variables; this process runs with what they say');
  const { NodeSDK } = require('@opentelemetry/sdk-node');
  const readers = metricReaders(parts);
  const verbose = parts.settings.traceHeader === 'off' ? undefined : verboseRequests(parts);
  const sdk = new NodeSDK({
    sampler: verbose && verboseSampler(samplerFromEnvironment()),
    resource: parts.resource,
    autoDetectResources: false,
    instrumentations: instrumentations(parts),
    spanProcessors: spanProcessors(parts),
    logRecordProcessors: logProcessors(parts),
    metricReaders: readers,
  });
  diagToStderr(); // the SDK's constructor put its console logger there
  sdk.start();
  if (verbose) propagate(verbose);
  observe(parts);
  process.on('uncaughtExceptionMonitor', (error) => {
    emit('process', SEVERITIES.FATAL, `uncaught exception: ${error?.message ?? error}`, exceptionAttributes(error ?? {}));
  });
  const adopting = setInterval(() => void parts.delivery.adopt(), ADOPT_EVERY_MS);
  adopting.unref();
  setTimeout(() => void parts.delivery.adopt(), 0).unref();
  const agent = opampAgent(parts);
  new Exit({
    cut: () => { parts.logs.flushSync(); parts.spans.flushSync(); },
    lastMetrics: () => parts.lastMetrics(),
    collect: async () => {
      await parts.resource.waitForAsyncAttributes?.();
      await Promise.all(readers.map((reader) => reader.forceFlush()));
    },
    goodbye: async () => { await agent?.close(); },
    waiting: () => parts.logs.raw.length + parts.spans.raw.length > 0,
    delivery: parts.delivery,
    budgetMs: parts.settings.exitMs,
    stop: () => { clearInterval(adopting); parts.levels.close(); },
  }).install();
}

module.exports = { start };
