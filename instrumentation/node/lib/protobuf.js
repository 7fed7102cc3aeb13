'use strict';
// The protobuf wire format, as little of it as OpAMP, RetryInfo and the splitting of a request need.

/** Writes fields in the order of the calls; `bytes()` gives the message. */
class Writer {
  constructor() {
    /** @type {Uint8Array[]} */
    this.parts = [];
  }

  /** @param {number} value unsigned, up to 2^53 */
  #varint(value) {
    const out = [];
    while (value > 127) {
      out.push((value % 128) | 128);
      value = Math.floor(value / 128);
    }
    out.push(value);
    this.parts.push(Uint8Array.from(out));
  }

  /** @param {number} field @param {number} value */
  number(field, value) {
    if (value) {
      this.#varint(field * 8);
      this.#varint(value);
    }
    return this;
  }

  /** A varint without a field, of a packed list. @param {bigint} value as 64 bits */
  value(value) {
    const out = [];
    let rest = BigInt.asUintN(64, value);
    while (rest > 127n) {
      out.push(Number(rest & 127n) | 128);
      rest >>= 7n;
    }
    out.push(Number(rest));
    this.parts.push(Uint8Array.from(out));
    return this;
  }

  /** Written when zero too. @param {number} field @param {bigint} value as 64 bits */
  varint(field, value) {
    this.#varint(field * 8);
    return this.value(value);
  }

  /** @param {number} field @param {1 | 5} type @param {Uint8Array} value of eight bytes or four */
  fixed(field, type, value) {
    this.#varint(field * 8 + type);
    this.parts.push(value);
    return this;
  }

  /** @param {number} field @param {Uint8Array | string | undefined} value written when empty too; left out when undefined */
  bytes(field, value) {
    if (value !== undefined) {
      const data = typeof value === 'string' ? Buffer.from(value) : value;
      this.#varint(field * 8 + 2);
      this.#varint(data.length);
      this.parts.push(data);
    }
    return this;
  }

  /** @param {number} field @param {Writer | undefined} message */
  message(field, message) {
    return this.bytes(field, message?.finish());
  }

  /** @returns {Buffer} */
  finish() {
    return Buffer.concat(this.parts);
  }
}

/**
 * @typedef {{field: number, type: number, value: number | Buffer, raw: Buffer}} Field
 * `raw` is the field as it stands, with its tag.
 */

/**
 * Read the fields of one message; nested messages stay bytes.
 * @param {Uint8Array} bytes
 * @returns {Field[]}
 * @throws {RangeError} when the bytes are no protobuf message
 */
function fields(bytes) {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const found = [];
  let at = 0;
  const varint = () => {
    let value = 0;
    let scale = 1;
    for (let i = 0; i < 10; i++) {
      if (at >= buffer.length) throw new RangeError('protobuf: a varint is cut off');
      const byte = buffer[at++];
      value += (byte & 127) * scale;
      if (byte < 128) return value;
      scale *= 128;
    }
    throw new RangeError('protobuf: a varint is too long');
  };
  const take = (/** @type {number} */ length) => {
    if (at + length > buffer.length) throw new RangeError('protobuf: a field is cut off');
    at += length;
    return buffer.subarray(at - length, at);
  };
  while (at < buffer.length) {
    const start = at;
    const tag = varint();
    const type = tag % 8;
    /** @type {number | Buffer} */
    let value;
    if (type === 0) value = varint();
    else if (type === 1) value = take(8);
    else if (type === 2) value = take(varint());
    else if (type === 5) value = take(4);
    else throw new RangeError(`protobuf: wire type ${type}`);
    found.push({ field: Math.floor(tag / 8), type, value, raw: buffer.subarray(start, at) });
  }
  return found;
}

/** @param {Field[]} list @param {number} field @returns {Buffer | undefined} the last of that number, as protobuf has it */
function bytesOf(list, field) {
  const value = list.findLast((f) => f.field === field)?.value;
  return typeof value === 'number' ? undefined : value;
}

/** @param {Field[]} list @param {number} field @returns {number} 0 when absent */
function numberOf(list, field) {
  const value = list.findLast((f) => f.field === field)?.value;
  return typeof value === 'number' ? value : 0;
}

module.exports = { Writer, fields, bytesOf, numberOf };
