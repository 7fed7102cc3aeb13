'use strict';
// An export request in two halves, when its receiver finds it too large (413): works on the encoded bytes, for all signals.

const { createHash } = require('node:crypto');
const { Writer, fields } = require('./protobuf');

// All requests nest alike: request {1: group*}, group {1: resource, 2: scope*, 3: url}, scope {1: scope, 2: record*, 3: url}.

/** @param {Uint8Array} request @returns {number} */
function countProtobuf(request) {
  let count = 0;
  for (const group of children(request, 1)) for (const scope of children(group, 2)) count += children(scope, 2).length;
  return count;
}

/** @param {Uint8Array} message @param {number} field @returns {Buffer[]} */
function children(message, field) {
  return fields(message).filter((f) => f.field === field).map((f) => /** @type {Buffer} */ (f.value));
}

/**
 * Keep the records with index from `from` to before `to`.
 * @param {Uint8Array} request @param {number} from @param {number} to
 */
function sliceProtobuf(request, from, to) {
  let index = 0;
  const prune = (/** @type {Uint8Array} */ message, /** @type {number} */ depth) => {
    const out = new Writer();
    let kept = 0;
    for (const f of fields(message)) {
      if (f.field !== (depth === 0 ? 1 : 2)) out.parts.push(f.raw);
      else if (depth === 2) {
        if (index >= from && index < to) {
          out.parts.push(f.raw);
          kept += 1;
        }
        index += 1;
      } else {
        const inner = prune(/** @type {Buffer} */ (f.value), depth + 1);
        if (inner.kept) {
          out.bytes(f.field, inner.bytes);
          kept += inner.kept;
        }
      }
    }
    return { bytes: out.finish(), kept };
  };
  return prune(request, 0).bytes;
}

/** @param {any} request @param {number} from @param {number} to */
function sliceJson(request, from, to) {
  let index = 0;
  const lists = (/** @type {any} */ holder, /** @type {number} */ depth) => {
    const out = { ...holder };
    for (const [key, value] of Object.entries(holder)) {
      if (!Array.isArray(value)) continue;
      out[key] = depth === 2
        ? value.filter(() => index++ >= from && index <= to)
        : value.map((v) => lists(v, depth + 1));
    }
    return out;
  };
  return lists(request, 0);
}

/** A batch id that follows from another, so that a split done twice gives the same two ids. @param {string} id @param {number} half */
function derivedId(id, half) {
  const hex = createHash('sha256').update(`${id}/${half}`).digest('hex');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-8${hex.slice(13, 16)}-8${hex.slice(17, 20)}-${hex.slice(20, 32)}`;
}

/**
 * @param {import('./batch').Batch} batch
 * @returns {import('./batch').Batch[] | undefined} two halves; undefined when there is nothing to halve
 */
function split(batch) {
  const json = batch.encoding === 'json';
  const parsed = json ? JSON.parse(Buffer.from(batch.body).toString()) : undefined;
  const count = json ? batch.records : countProtobuf(batch.body);
  if (count < 2) return undefined;
  const middle = Math.ceil(count / 2);
  const half = (/** @type {number} */ n, /** @type {number} */ from, /** @type {number} */ to) => ({
    ...batch,
    id: derivedId(batch.id, n),
    records: to - from,
    body: json ? Buffer.from(JSON.stringify(sliceJson(parsed, from, to))) : sliceProtobuf(batch.body, from, to),
    entry: undefined,
  });
  return [half(0, 0, middle), half(1, middle, count)];
}

module.exports = { split, countProtobuf };
