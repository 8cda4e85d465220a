// The gateway of many tutorials: express in front, http-proxy behind, connections kept on both sides.
//   node gateway.js HOST:PORT UPSTREAM_HOST:PORT
'use strict';

const http = require('http');
const express = require('express');
const httpProxy = require('http-proxy');

const [listen, upstream] = process.argv.slice(2);
const [host, port] = listen.split(':');

const agent = new http.Agent({ keepAlive: true, maxSockets: 256 });
const proxy = httpProxy.createProxyServer({ target: `http://${upstream}`, agent });
proxy.on('error', (error, request, response) => response.writeHead(502).end());

const app = express();
app.disable('x-powered-by');
app.use((request, response) => proxy.web(request, response));

const server = http.createServer(app);
server.keepAliveTimeout = 600000;
server.listen(Number(port), host);
