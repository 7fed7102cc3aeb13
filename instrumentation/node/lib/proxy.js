'use strict';
// HTTP_PROXY, HTTPS_PROXY and NO_PROXY for exports over HTTP: Node does not read them by itself (gRPC's library does).

const http = require('node:http');
const https = require('node:https');
const tls = require('node:tls');

const LOOPBACK = /^(?:localhost|127(?:\.\d+){3}|\[?::1\]?)$/;

/** @param {NodeJS.ProcessEnv} env @param {string} name lower-case; the other case counts where it is unset */
function read(env, name) {
  return (env[name] || env[name.toUpperCase()] || '').trim();
}

/** Whether NO_PROXY names a URL's host: itself, a domain above it, with or without a port; `*`: every one. @param {URL} target @param {string} list */
function exempt(target, list) {
  return list.split(/[\s,]+/).filter(Boolean).some((entry) => {
    const [, name, port] = /** @type {RegExpExecArray} */ (/^(.*?)(?::(\d+))?$/.exec(entry.toLowerCase()));
    const domain = name.replace(/^\*?\./, '');
    const named = entry === '*' || target.hostname === domain || target.hostname.endsWith(`.${domain}`);
    return named && (!port || port === portOf(target));
  });
}

/** @param {URL} url */
function portOf(url) {
  return url.port || (url.protocol === 'https:' ? '443' : '80');
}

/**
 * The proxy for a URL; none for this machine itself.
 * @param {URL} target @param {NodeJS.ProcessEnv} env @returns {URL | undefined}
 */
function proxyFor(target, env) {
  const name = read(env, `${target.protocol.slice(0, -1)}_proxy`);
  if (!name || LOOPBACK.test(target.hostname) || exempt(target, read(env, 'no_proxy'))) return undefined;
  const proxy = new URL(name.includes('://') ? name : `http://${name}`);
  return proxy.protocol === 'http:' || proxy.protocol === 'https:' ? proxy : undefined;
}

/** @param {URL} proxy @returns {Record<string, string>} */
function credentials(proxy) {
  if (!proxy.username) return {};
  const pair = `${decodeURIComponent(proxy.username)}:${decodeURIComponent(proxy.password)}`;
  return { 'Proxy-Authorization': `Basic ${Buffer.from(pair).toString('base64')}` };
}

/** @param {URL} proxy */
function clientOf(proxy) {
  return proxy.protocol === 'https:' ? https : http;
}

/** Connections to a TLS server through a proxy's tunnels, with the certificates of the agent that it stands for. */
class TunnelAgent extends https.Agent {
  /** @param {https.AgentOptions} options @param {URL} proxy */
  constructor(options, proxy) {
    super(options);
    this.proxy = proxy;
  }

  /** @param {any} options @param {(error: Error | null, socket?: any) => void} done */
  createConnection(options, done) {
    const to = `${options.host}:${options.port}`;
    const asked = clientOf(this.proxy).request(this.proxy, { method: 'CONNECT', path: to, headers: { Host: to, ...credentials(this.proxy) }, agent: false });
    asked.on('socket', (socket) => socket.unref());
    asked.on('connect', (answer, socket) => {
      if (answer.statusCode === 200) done(null, tls.connect({ ...options, socket }).unref());
      else {
        socket.destroy();
        done(new Error(`the proxy ${this.proxy.host} answered ${answer.statusCode} for ${to}`));
      }
    });
    asked.on('error', (error) => done(new Error(`the proxy ${this.proxy.host}: ${error.message}`)));
    asked.end();
    return undefined;
  }
}

/**
 * What a request to a URL has to be sent with.
 * @param {URL} target @param {any} agent without a proxy @param {NodeJS.ProcessEnv} env
 * @returns {{url: URL, options: import('node:https').RequestOptions}}
 */
function route(target, agent, env) {
  const proxy = proxyFor(target, env);
  if (!proxy) return { url: target, options: { agent } };
  if (target.protocol === 'https:') return { url: target, options: { agent: new TunnelAgent(agent.options, proxy) } };
  const own = proxy.protocol === 'https:' ? new https.Agent({ keepAlive: true }) : agent;
  return { url: proxy, options: { agent: own, path: target.href, headers: { Host: target.host, ...credentials(proxy) } } };
}

module.exports = { proxyFor, route };
