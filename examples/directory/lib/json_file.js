'use strict';
// A JSON file as the whole database. It is read for every question, so that an edit shows at once.

const fs = require('node:fs/promises');
const path = require('node:path');

/** Reads a file named relative to the application's own folder, wherever it was started from. */
async function readJson(file) {
  return JSON.parse(await fs.readFile(path.resolve(__dirname, '..', file), 'utf8'));
}

module.exports = { readJson };
