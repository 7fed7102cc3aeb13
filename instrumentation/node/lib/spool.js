'use strict';
// Batches on disk while their receiver is away. One file a batch, written aside and renamed, so that a file is whole or absent;
// its name says all about it. One directory a process; those of processes that are gone are taken over, file by file.

const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { isMainThread, threadId } = require('node:worker_threads');

/** @typedef {import('./batch').Batch} Batch */
/** @typedef {{name: string, createdMs: number, signal: import('./signals').SignalName, records: number, id: string, encoding: 'protobuf' | 'json', bytes: number}} Entry */

const NAME = /^(\d{13})-(logs|traces|metrics)-(\d+)-([0-9a-f-]{36})\.(pb|json)$/;
const FOREIGN_LEASE_MS = 300_000; // a directory of another host is an orphan after that long without a sign of life
const DEAD_SHARE = 8; // dead letters take an eighth of what the spool may

/** @param {Batch} batch */
function nameOf(batch) {
  const ending = batch.encoding === 'json' ? 'json' : 'pb';
  return `${String(batch.createdMs).padStart(13, '0')}-${batch.signal}-${batch.records}-${batch.id}.${ending}`;
}

/** @param {string} name @param {number} bytes @returns {Entry | undefined} */
function entryOf(name, bytes) {
  const m = NAME.exec(name);
  if (!m) return undefined;
  return /** @type {Entry} */ ({
    name, createdMs: Number(m[1]), signal: m[2], records: Number(m[3]), id: m[4], encoding: m[5] === 'json' ? 'json' : 'protobuf', bytes,
  });
}

/** When the process began, in the kernel's ticks; tells a pid from its reuse. @param {number | 'self'} pid */
function startTicks(pid) {
  try {
    const stat = fs.readFileSync(`/proc/${pid}/stat`, 'latin1');
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
  } catch {
    return pid === 'self' ? '0' : undefined;
  }
}

class Spool {
  /**
   * @param {object} options
   * @param {string} options.directory of this service; made when first needed
   * @param {number} options.bytesMax
   * @param {number} options.ageMs older batches are dropped, counted
   * @param {import('./report').Report} options.report
   */
  constructor({ directory, bytesMax, ageMs, report }) {
    this.service = directory;
    this.own = path.join(directory, `node-${os.hostname()}-${process.pid}-${startTicks('self')}${isMainThread ? '' : `-t${threadId}`}`);
    this.dead = path.join(directory, 'dead-letter');
    this.bytesMax = bytesMax;
    this.ageMs = ageMs;
    this.report = report;
    /** @type {Entry[]} oldest first */
    this.entries = [];
    this.bytes = 0;
    this.made = false;
  }

  #make() {
    if (this.made) return;
    fs.mkdirSync(this.own, { recursive: true, mode: 0o700 });
    this.made = true;
  }

  /** @param {Entry} entry */
  #insert(entry) {
    let at = this.entries.length;
    while (at > 0 && this.entries[at - 1].name > entry.name) at -= 1;
    this.entries.splice(at, 0, entry);
    this.bytes += entry.bytes;
    while (this.bytes > this.bytesMax && this.entries.length > 1) this.#dropOldest(`full (${this.bytesMax} bytes)`);
    while (this.entries.length && Date.now() - this.entries[0].createdMs > this.ageMs) this.#dropOldest(`over age (${this.ageMs / 3_600_000} h)`);
  }

  /** @param {string} why */
  #dropOldest(why) {
    const oldest = this.entries[0];
    this.remove(oldest);
    this.report.lost(oldest.signal, oldest.records, oldest.createdMs, `the spool is ${why}`);
    this.report.loud('full', `the spool ${this.own} is ${why}: ${oldest.records} ${oldest.signal} from `
      + `${new Date(oldest.createdMs).toISOString()} are lost, ${this.report.total('dropped')} so far`);
  }

  /** Write a batch; it is whole on disk when this returns. False when the disk refuses. @param {Batch} batch */
  writeSync(batch) {
    if (batch.entry) return true;
    try {
      this.#make();
      const name = nameOf(batch);
      const aside = path.join(this.own, `.${batch.id}.part`);
      fs.writeFileSync(aside, batch.body, { mode: 0o600 });
      fs.renameSync(aside, path.join(this.own, name));
      this.#written(batch, name);
      return true;
    } catch (error) {
      return this.#refused(error);
    }
  }

  /** The same without holding the event loop. @param {Batch} batch */
  async write(batch) {
    if (batch.entry) return true;
    try {
      this.#make();
      const name = nameOf(batch);
      const aside = path.join(this.own, `.${batch.id}.new`);
      await fs.promises.writeFile(aside, batch.body, { mode: 0o600 });
      await fs.promises.rename(aside, path.join(this.own, name));
      if (!batch.entry) this.#written(batch, name);
      return true;
    } catch (error) {
      return this.#refused(error);
    }
  }

  /** @param {Batch} batch @param {string} name */
  #written(batch, name) {
    batch.entry = name;
    this.#insert(/** @type {Entry} */ (entryOf(name, batch.body.length)));
  }

  /** @param {any} error */
  #refused(error) {
    this.made = false;
    this.report.loud('disk', `the spool ${this.own} cannot be written (${error.code ?? error.message}); batches stay in memory`);
    return false;
  }

  /** The oldest batch of a signal. @param {string} signal @returns {Promise<Batch | undefined>} */
  async oldest(signal) {
    for (;;) {
      const entry = this.entries.find((e) => e.signal === signal);
      if (!entry) return undefined;
      try {
        const body = await fs.promises.readFile(path.join(this.own, entry.name));
        return { id: entry.id, signal: entry.signal, encoding: entry.encoding, body, records: entry.records, createdMs: entry.createdMs, entry: entry.name };
      } catch {
        this.#forget(entry); // taken away by somebody; it is theirs now
      }
    }
  }

  /** @param {string} signal */
  has(signal) {
    return this.entries.some((e) => e.signal === signal);
  }

  /** Delivered, or given up: the file goes. @param {{name: string}} entry */
  remove({ name }) {
    const entry = this.entries.find((e) => e.name === name);
    if (entry) this.#forget(entry);
    try {
      fs.rmSync(path.join(this.own, name), { force: true });
    } catch (error) {
      this.#refused(error); // it will be sent once more by the next process, and stored once, by its id
    }
  }

  /** @param {Entry} entry */
  #forget(entry) {
    this.entries.splice(this.entries.indexOf(entry), 1);
    this.bytes -= entry.bytes;
  }

  /** Put a batch that will never be accepted where a person can look at it. @param {Batch} batch @returns {string} the file */
  bury(batch) {
    const file = path.join(this.dead, nameOf(batch));
    try {
      fs.mkdirSync(this.dead, { recursive: true, mode: 0o700 });
      fs.writeFileSync(file, batch.body, { mode: 0o600 });
      const names = fs.readdirSync(this.dead).sort();
      let bytes = 0;
      for (const name of names.reverse()) {
        bytes += fs.statSync(path.join(this.dead, name)).size;
        if (bytes > this.bytesMax / DEAD_SHARE) fs.rmSync(path.join(this.dead, name), { force: true });
      }
    } catch (error) {
      this.#refused(error);
    }
    if (batch.entry) this.remove({ name: batch.entry });
    return file;
  }

  /** Take over what processes of this service left that are gone. @returns {Promise<number>} batches */
  async adopt() {
    let adopted = 0; // whatever is in the way of a single file or directory is left to the next time
    for (const name of await list(this.service)) {
      const directory = path.join(this.service, name);
      if (!name.startsWith('node-') || directory === this.own || alive(name, directory)) continue;
      for (const file of await list(directory)) adopted += Number(await this.#take(directory, file));
      await fs.promises.rmdir(directory).catch(() => {});
    }
    if (this.made) await fs.promises.utimes(this.own, new Date(), new Date()).catch(() => {}); // the sign of life for other hosts
    return adopted;
  }

  /** @param {string} directory @param {string} file */
  async #take(directory, file) {
    const from = path.join(directory, file);
    const entry = entryOf(file, 0);
    try {
      if (!entry) {
        await fs.promises.rm(from, { force: true }); // the cut-off half of a write
        return false;
      }
      this.#make();
      await fs.promises.rename(from, path.join(this.own, file)); // one of two adopters succeeds
      entry.bytes = (await fs.promises.stat(path.join(this.own, file))).size;
      this.#insert(entry);
      return true;
    } catch {
      return false;
    }
  }

  /** Leave no empty directory behind. */
  close() {
    try {
      if (this.made && this.entries.length === 0) fs.rmdirSync(this.own);
    } catch {
      // not empty after all, or gone
    }
  }
}

/** @param {string} directory @returns {Promise<string[]>} its names; none where it is absent */
async function list(directory) {
  return fs.promises.readdir(directory).then((names) => names.sort(), () => []);
}

/** @param {string} directory */
function touchedMs(directory) {
  try {
    return fs.statSync(directory).mtimeMs;
  } catch {
    return Date.now(); // not to be looked at, or gone: nothing to take over
  }
}

/** Whether the process that owns a spool directory still runs. @param {string} name @param {string} directory */
function alive(name, directory) {
  const m = /^node-(.*)-(\d+)-(\d+)(?:-t\d+)?$/.exec(name);
  if (!m) return true;
  if (m[1] !== os.hostname()) return Date.now() - touchedMs(directory) < FOREIGN_LEASE_MS;
  try {
    process.kill(Number(m[2]), 0);
  } catch (error) {
    if (/** @type {any} */ (error).code === 'ESRCH') return false;
  }
  const ticks = startTicks(Number(m[2]));
  return ticks === undefined || m[3] === '0' || ticks === m[3];
}

module.exports = { Spool };
