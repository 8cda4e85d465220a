'use strict';
// Where the users are kept. The server knows these two questions only, so that a database can take over.

const { readJson } = require('../lib/json_file');

const FILE = process.env.USERS_FILE || 'data/users.json';

async function all() {
  return readJson(FILE);
}

/** The user with that address (letters' case does not matter), or undefined. */
async function byEmail(email) {
  const users = await all();
  return users.find((user) => user.email.toLowerCase() === email.toLowerCase());
}

module.exports = { all, byEmail };
