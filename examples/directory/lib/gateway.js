'use strict';
// Asking another service. Nobody knows where the others run, or how many there are: the gateway does.

const http = require('node:http');

const GATEWAY = process.env.HYTHE_GATEWAY_URL || 'http://127.0.0.1:8000';
const PATIENCE_MS = Number(process.env.GATEWAY_TIMEOUT_MS || 1000);

/** GETs a path through the gateway: `{status, instance, body}`, the body parsed; rejects when nothing useful comes. */
function ask(path) {
  return new Promise((resolve, reject) => {
    const signal = AbortSignal.timeout(PATIENCE_MS);
    const request = http.get(new URL(path, GATEWAY), { signal }, async (response) => {
      try {
        let text = '';
        for await (const chunk of response.setEncoding('utf8')) text += chunk;
        const isJson = /^application\/json/.test(response.headers['content-type']);
        resolve({
          status: response.statusCode,
          instance: response.headers['x-instance'],
          body: isJson ? JSON.parse(text) : text,
        });
      } catch (error) {
        reject(error);
      }
    });
    request.on('error', reject);
  });
}

module.exports = { ask };
