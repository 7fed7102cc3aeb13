'use strict';
// Test applications as real processes, instrumented by their environment alone.

const { spawn } = require('node:child_process');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');

const PACKAGE = path.join(__dirname, '..', '..');

/** @param {import('node:test').TestContext} t @returns {string} a directory of its own */
function temporary(t) {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'otel-ingest-node-'));
  t.after(() => fs.rmSync(directory, { recursive: true, force: true }));
  return directory;
}

/** Every file under a directory, but for empty ones. @param {string} directory @returns {string[]} */
function filesUnder(directory) {
  if (!fs.existsSync(directory)) return [];
  return fs.readdirSync(directory, { recursive: true, withFileTypes: true }).filter((e) => e.isFile()).map((e) => path.join(e.parentPath ?? e.path, e.name));
}

/**
 * @param {import('node:test').TestContext} t @param {string} app a file of test/apps, or code to run
 * @param {{sink: string, env?: Record<string, string>, args?: string[], spool?: string, esm?: boolean}} options
 */
function runApp(t, app, { sink, env = {}, args = [], spool = temporary(t), esm = false }) {
  const clean = Object.fromEntries(Object.entries(process.env).filter(([key]) => !key.startsWith('OTEL_') && key !== 'NODE_OPTIONS' && !key.startsWith('NODE_TEST')));
  const file = /\.m?js$/.test(app) ? path.join(PACKAGE, 'test', 'apps', app) : writeCode(t, app);
  const child = spawn(process.execPath, [file, ...args], {
    cwd: path.join(PACKAGE, 'test'),
    env: {
      ...clean,
      NODE_OPTIONS: esm ? `--import ${path.join(PACKAGE, 'register.mjs')}` : `--require ${path.join(PACKAGE, 'register.js')}`,
      OTEL_SERVICE_NAME: 'app', OTEL_EXPORTER_OTLP_ENDPOINT: sink, OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json',
      OTEL_INGEST_CLIENT_SPOOL_DIR: spool, OTEL_INGEST_CLIENT_OPAMP: 'off', ...env,
    },
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  const app_ = {
    child, spool, stdout: '', stderr: '',
    /** @type {Promise<{code: number | null, signal: string | null}>} */
    ended: new Promise((resolve) => { child.on('close', (code, signal) => resolve({ code, signal })); }),
    /** Wait for a line on stdout. @param {RegExp} pattern @returns {Promise<RegExpMatchArray>} */
    async says(pattern) {
      for (;;) {
        const found = app_.stdout.match(pattern);
        if (found) return found;
        await Promise.race([new Promise((resolve) => { child.stdout.once('data', resolve); }), app_.ended.then(() => {
          if (!pattern.test(app_.stdout)) throw new Error(`ended without ${pattern}: ${app_.stdout}\n${app_.stderr}`);
        })]);
      }
    },
  };
  child.stdout.on('data', (chunk) => { app_.stdout += chunk; });
  child.stderr.on('data', (chunk) => { app_.stderr += chunk; });
  t.after(() => { child.kill('SIGKILL'); });
  return app_;
}

/** @param {import('node:test').TestContext} t @param {string} code */
function writeCode(t, code) {
  const file = path.join(temporary(t), 'app.js');
  fs.writeFileSync(file, `const require_ = require('node:module').createRequire(${JSON.stringify(path.join(PACKAGE, 'test', 'x.js'))});\n${code}`);
  return file;
}

module.exports = { runApp, temporary, filesUnder, PACKAGE };
