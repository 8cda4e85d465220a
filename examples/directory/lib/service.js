'use strict';
// What every service of this application has in common: a health check, a way to crash and to be slow
// on purpose, one log line per request, and an end that loses nothing.

const http = require('node:http');

const INSTANCE = process.env.HYTHE_INSTANCE || `by hand, process ${process.pid}`;
const SLOWEST_MS = 60_000;

/** Something the caller of a service did wrong or asked for in vain: answered with its status and text. */
class Refusal extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/**
 * Serves until SIGTERM. `answer(url, response)` handles what is left once /health, /crash and /slow are
 * taken away (these also work below `prefix`, which is how they are reached through the gateway), and
 * returns a string of HTML, anything else to be sent as JSON, or undefined for "no such page".
 */
function serve({ defaultPort, prefix, answer }) {
  let stopping = false;

  const server = http.createServer(async (request, response) => {
    const url = new URL(request.url, 'http://service');
    const started = process.hrtime.bigint();
    response.setHeader('X-Instance', INSTANCE);
    response.on('finish', () => {
      // Whoever checks the health asks every few seconds; that is no news.
      if (url.pathname === '/health') return;
      const ms = Number((process.hrtime.bigint() - started) / 1_000_000n);
      console.log(`${request.method} ${request.url} ${response.statusCode} ${ms} ms`);
    });

    let reply;
    try {
      reply = await route(request, response, url);
    } catch (error) {
      if (!(error instanceof Refusal)) console.error(error);
      response.statusCode = error.status || 500;
      reply = error instanceof Refusal ? { text: error.message } : { text: 'Something went wrong.' };
    }
    // A connection that is still open after the last answer would keep us from ending.
    if (stopping) response.setHeader('Connection', 'close');
    send(request, response, reply);
  });

  async function route(request, response, url) {
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      response.setHeader('Allow', 'GET, HEAD');
      throw new Refusal(405, 'Only GET is understood here.');
    }
    const own = url.pathname.startsWith(`${prefix}/`) ? url.pathname.slice(prefix.length) : url.pathname;
    if (own === '/health') return { json: { status: 'ok' } };
    if (own === '/slow') return slow(url);
    if (own === '/crash') return crash(response);

    const found = await answer(url, response);
    if (found === undefined) throw new Refusal(404, 'No such page.');
    return typeof found === 'string' ? { html: found } : { json: found };
  }

  // A gateway keeps idle connections for a minute or so. Were ours to close first, it could send a
  // request just as the connection ends.
  server.keepAliveTimeout = 75_000;
  server.listen(Number(process.env.PORT || defaultPort), () => {
    console.log(`listening on ${server.address().port} as ${INSTANCE}`);
  });

  for (const signal of ['SIGTERM', 'SIGINT']) {
    process.once(signal, () => {
      stopping = true;
      console.log(`${signal}: finishing what was started`);
      server.close(() => process.exit(0));
      server.closeIdleConnections();
    });
  }
}

/** GET /slow?ms=2000: an answer that takes its time, to watch timeouts and draining. */
async function slow(url) {
  const ms = Number(url.searchParams.get('ms') ?? 2000);
  if (!Number.isInteger(ms) || ms < 0 || ms > SLOWEST_MS) {
    throw new Refusal(400, `ms must be a whole number from 0 to ${SLOWEST_MS}.`);
  }
  await new Promise((resolve) => setTimeout(resolve, ms));
  return { text: `That took ${ms} ms.` };
}

/**
 * GET /crash: answers 500, then ends with code 1, as an uncaught exception would. It answers first because
 * a gateway may repeat a request whose connection breaks, and one visit would then end every instance.
 */
function crash(response) {
  console.error('crashing, as asked');
  response.statusCode = 500;
  response.setHeader('Connection', 'close');
  response.on('close', () => process.exit(1));
  return { text: 'Crashing now.' };
}

function send(request, response, { html, json, text }) {
  const [type, body] = html
    ? ['text/html', html]
    : json
      ? ['application/json', `${JSON.stringify(json)}\n`]
      : ['text/plain', text];
  response.setHeader('Content-Type', `${type}; charset=utf-8`);
  response.setHeader('Content-Length', Buffer.byteLength(body));
  response.end(request.method === 'HEAD' ? undefined : body);
}

module.exports = { serve, Refusal, INSTANCE };
