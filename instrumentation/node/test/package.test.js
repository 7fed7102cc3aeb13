'use strict';
// The package as npm would publish it, installed and used like a user does; and the house rules on sizes.

const assert = require('node:assert/strict');
const { execFileSync, spawnSync } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');
const { test } = require('node:test');
const { startSink } = require('./help/sink');
const { PACKAGE, filesUnder, temporary } = require('./help/app');

test('the packed package has the shared rules and works by NODE_OPTIONS alone', async (t) => {
  const directory = temporary(t);
  const modules = path.join(directory, 'node_modules');
  const own = path.join(modules, 'otel-ingest-instrumentation');
  fs.mkdirSync(own, { recursive: true });
  const packed = JSON.parse(execFileSync('npm', ['pack', '--json', '--pack-destination', directory], { cwd: PACKAGE, encoding: 'utf8', stdio: 'pipe' }));
  const { filename } = Array.isArray(packed) ? packed[0] : Object.values(packed)[0];
  execFileSync('tar', ['-xzf', path.join(directory, filename), '-C', own, '--strip-components', '1']);
  fs.symlinkSync(path.join(PACKAGE, 'node_modules', '@opentelemetry'), path.join(modules, '@opentelemetry'));

  assert.deepEqual(fs.readFileSync(path.join(own, 'lib/redaction/rules.json')), fs.readFileSync(path.join(PACKAGE, '../redaction/rules.json')));
  assert.ok(!fs.existsSync(path.join(PACKAGE, 'lib/redaction/rules.json')), 'the copy is not left in the checkout');
  assert.ok(fs.existsSync(path.join(own, 'LICENSE')));
  assert.ok(!filesUnder(own).some((file) => file.includes(`${path.sep}test${path.sep}`)));

  const sink = await startSink(t);
  const run = () => new Promise((resolve) => {
    const child = require('node:child_process').spawn(process.execPath, ['-e', "console.log('token=abc123')"], {
      cwd: directory, env: {
        PATH: process.env.PATH, HOME: directory, NODE_OPTIONS: '--require otel-ingest-instrumentation/register', OTEL_SERVICE_NAME: 'packed',
        OTEL_EXPORTER_OTLP_ENDPOINT: sink.url, OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json', OTEL_INGEST_CLIENT_OPAMP: 'off',
      },
    });
    child.on('close', resolve);
  });
  assert.equal(await run(), 0);
  assert.deepEqual(sink.logs().map((r) => [r.service, r.body]), [['packed', 'token=[REDACTED]']]);
});

test('modules are short and say their place', () => {
  const modules = filesUnder(path.join(PACKAGE, 'lib')).filter((file) => file.endsWith('.js'));
  const long = modules.filter((file) => fs.readFileSync(file, 'utf8').split('\n').length > 300);
  const silent = modules.filter((file) => !/^'use strict';\n\/\/ \S/.test(fs.readFileSync(file, 'utf8')));

  assert.deepEqual([long, silent], [[], []]);
});

test('package managers are not instrumented', (t) => {
  const directory = temporary(t);
  const tool = path.join(directory, 'npm-cli.js');
  fs.writeFileSync(tool, "console.log(Object.keys(require.cache).some((file) => file.includes('sdk-node')))");
  const { stdout } = spawnSync(process.execPath, ['--require', path.join(PACKAGE, 'register.js'), tool], { encoding: 'utf8' });

  assert.equal(stdout.trim(), 'false');
});

test('dependencies are OpenTelemetry alone, in ranges', () => {
  const { dependencies } = require('../package.json');
  for (const [name, range] of Object.entries(dependencies)) {
    assert.match(name, /^@opentelemetry\//);
    assert.match(range, /^(\^|>=)/);
  }
});
