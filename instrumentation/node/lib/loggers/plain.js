'use strict';
// What applications pass to a logger as values that can be exported: plain, without cycles, of bounded depth and size.

const DEPTH_MAX = 8;
const NODES_MAX = 1000; // of one record: a request object with its sockets has tens of thousands

/**
 * @param {any} value
 * @param {{depth?: number, nodes?: {left: number}, above?: any[]}} [state]
 * @returns {any}
 */
function plain(value, { depth = 0, nodes = { left: NODES_MAX }, above = [] } = {}) {
  if (typeof value === 'bigint') return String(value);
  if (typeof value === 'function' || typeof value === 'symbol') return undefined;
  if (value === null || typeof value !== 'object') return value;
  if (value instanceof Uint8Array) return value;
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? 'Invalid Date' : value.toISOString();
  if (above.includes(value)) return '[circular]';
  if (depth >= DEPTH_MAX || nodes.left <= 0) return '[truncated]';
  nodes.left -= 1;
  const inner = { depth: depth + 1, nodes, above: [...above, value] };
  if (value instanceof Error) return plain({ ...value, name: value.name, message: value.message, stack: value.stack }, inner);
  if (typeof value.toJSON === 'function') return plain(value.toJSON(), inner);
  if (value instanceof Map) return plain(Object.fromEntries(value), inner);
  if (Array.isArray(value) || value instanceof Set) return [...value].slice(0, NODES_MAX).map((item) => plain(item, inner) ?? null);
  /** @type {Record<string, any>} */
  const out = {};
  for (const key of Object.keys(value)) {
    if (nodes.left <= 0) break;
    const item = plain(value[key], inner);
    if (item !== undefined) out[key] = item;
  }
  return out;
}

module.exports = { plain };
