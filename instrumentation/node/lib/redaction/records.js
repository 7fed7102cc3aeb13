'use strict';
// Redaction of what the SDK hands over: a copy of each log record, span or metric in which nothing is secret. The originals stay
// as they are. Where redaction fails, the record keeps its times and ids alone.

const { Redactor, FAILED } = require('./engine');
const { sharedRules } = require('./rules');

const NOTE = 'otel_ingest.redacted'; // the attribute that says what was redacted, as path:rule
const NOTE_MAX = 32;

class RecordRedactor {
  /** @param {import('./engine').Redactor} redactor @param {import('../report').Report} report */
  constructor(redactor, report) {
    this.redactor = redactor;
    this.report = report;
    /** @type {WeakMap<object, any>} */
    this.resources = new WeakMap();
  }

  /** @param {() => any} work @param {() => any} shell what is left when the work fails */
  #safely(work, shell) {
    try {
      return work();
    } catch (error) {
      this.report.loud('redaction', `redaction failed, the record is sent without its contents: ${/** @type {Error} */ (error).message}`);
      return shell();
    }
  }

  /** @param {any} attributes @param {string} path @param {Set<string>} found */
  #map(attributes, path, found) {
    return attributes && this.redactor.mapping(attributes, path, found);
  }

  /** Whether all parts stay as they are; an error of the quick way is no verdict. @param {any[]} parts */
  #clean(...parts) {
    try {
      return this.redactor.simple && parts.every((part) => this.redactor.clean(part));
    } catch {
      return false;
    }
  }

  /** A resource without secrets; the same object for the same resource, as batches are grouped by it. @param {any} resource */
  resource(resource) {
    const pending = Boolean(resource.asyncAttributesPending);
    const known = this.resources.get(resource);
    if (known && known.pending === pending) return known.clean;
    const clean = this.#clean(resource.attributes)
      ? resource
      : { ...this.#bare(resource), attributes: this.#noted(new Set(), (found) => this.#map(resource.attributes, '', found)) };
    this.resources.set(resource, { clean, pending });
    return clean;
  }

  /** @param {any} item */
  #sameResource(item) {
    return this.#safely(() => this.resource(item.resource) === item.resource, () => false);
  }

  /** @param {any} resource */
  #bare(resource) {
    return { attributes: { 'service.name': 'unknown_service' }, schemaUrl: resource.schemaUrl, asyncAttributesPending: false };
  }

  /** @param {Set<string>} found @param {(found: Set<string>) => any} work */
  #noted(found, work) {
    const attributes = work(found);
    if (found.size) attributes[NOTE] = [...found].slice(0, NOTE_MAX);
    return attributes;
  }

  /** @param {any} record a ReadableLogRecord */
  logRecord(record) {
    if (this.#clean(record.body, record.attributes, record.eventName, record.severityText) && this.#sameResource(record)) return record;
    const { hrTime, hrTimeObserved, severityNumber, spanContext, instrumentationScope, droppedAttributesCount } = record;
    const kept = { hrTime, hrTimeObserved, severityNumber, spanContext, instrumentationScope, droppedAttributesCount };
    return this.#safely(() => {
      /** @type {Set<string>} */
      const found = new Set();
      const body = this.redactor.value(record.body, 'body', found);
      const severityText = this.redactor.value(record.severityText, 'severity_text', found);
      const eventName = this.redactor.value(record.eventName, 'event_name', found);
      const attributes = this.#noted(found, () => this.#map(record.attributes, '', found));
      return { ...kept, body, severityText, eventName, attributes, resource: this.resource(record.resource) };
    }, () => ({ ...kept, body: FAILED, attributes: { [NOTE]: ['record:failed'] }, resource: this.#bare(record.resource) }));
  }

  /** @param {any} span a ReadableSpan */
  span(span) {
    const parts = [...span.events, ...span.links];
    if (this.#clean(span.name, span.attributes, span.status.message) && parts.every((part) => this.#clean(part.name, part.attributes)) && this.#sameResource(span)) {
      return span;
    }
    const context = span.spanContext();
    const { kind, startTime, endTime, duration, ended, parentSpanContext, instrumentationScope } = span;
    const { droppedAttributesCount, droppedEventsCount, droppedLinksCount } = span;
    const kept = {
      spanContext: () => context, kind, startTime, endTime, duration, ended, parentSpanContext, instrumentationScope,
      droppedAttributesCount, droppedEventsCount, droppedLinksCount,
    };
    return this.#safely(() => {
      /** @type {Set<string>} */
      const found = new Set();
      const name = this.redactor.value(span.name, 'name', found);
      const status = { code: span.status.code, message: this.redactor.value(span.status.message, 'status', found) };
      const events = span.events.map((/** @type {any} */ event) => ({
        ...event, name: this.redactor.value(event.name, 'event', found), attributes: this.#map(event.attributes, 'event', found),
      }));
      const links = span.links.map((/** @type {any} */ link) => ({ ...link, attributes: this.#map(link.attributes, 'link', found) }));
      const attributes = this.#noted(found, () => this.#map(span.attributes, '', found));
      return { ...kept, name, status, events, links, attributes, resource: this.resource(span.resource) };
    }, () => ({ ...kept, name: FAILED, status: { code: span.status.code }, events: [], links: [], attributes: { [NOTE]: ['record:failed'] }, resource: this.#bare(span.resource) }));
  }

  /** @param {any} metrics ResourceMetrics */
  metrics(metrics) {
    /** @type {Set<string>} */
    const found = new Set(); // a note would make another series of it
    const point = (/** @type {any} */ p) => ({ ...p, attributes: this.#map(p.attributes, 'metric', found) });
    return this.#safely(() => ({
      resource: this.resource(metrics.resource),
      scopeMetrics: metrics.scopeMetrics.map((/** @type {any} */ scope) => ({
        ...scope, metrics: scope.metrics.map((/** @type {any} */ metric) => ({ ...metric, dataPoints: metric.dataPoints.map(point) })),
      })),
    }), () => ({ resource: this.#bare(metrics.resource), scopeMetrics: [] }));
  }

  /** Another exporter, fed redacted spans. @param {any} exporter */
  spanExporter(exporter) {
    return this.#exporter(exporter, (span) => this.span(span));
  }

  /** Another exporter, fed redacted log records. @param {any} exporter */
  logExporter(exporter) {
    return this.#exporter(exporter, (record) => this.logRecord(record));
  }

  /** @param {any} exporter @param {(item: any) => any} redact */
  #exporter(exporter, redact) {
    return {
      export: (/** @type {any[]} */ items, /** @type {any} */ done) => exporter.export(items.map(redact), done),
      forceFlush: () => exporter.forceFlush?.() ?? Promise.resolve(),
      shutdown: () => exporter.shutdown(),
    };
  }
}

/**
 * @param {() => import('./engine').Options} read @param {import('../report').Report} report
 */
function recordRedactor(read, report) {
  try {
    return new RecordRedactor(new Redactor(sharedRules(), read()), report);
  } catch (error) {
    report.loud('rules', `the redaction rules are unusable, every text is replaced: ${/** @type {Error} */ (error).message}`);
    const refuse = () => { throw new Error('the redaction rules are unusable'); };
    return new RecordRedactor(/** @type {any} */ ({ value: refuse, mapping: refuse }), report);
  }
}

module.exports = { recordRedactor, RecordRedactor };
