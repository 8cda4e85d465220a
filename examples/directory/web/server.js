'use strict';
// web: the directory as a page for people.
//
//   GET /      asks users through the gateway, and shows which of its instances answered

const { ask } = require('../lib/gateway');
const { INSTANCE, serve } = require('../lib/service');
const { page } = require('./page');

async function users() {
  try {
    const { status, instance, body } = await ask('/users');
    if (status === 200 && Array.isArray(body)) return { users: body, instance };
    console.error(`users answered ${status}`);
  } catch (error) {
    console.error(`users did not answer: ${error.message}`);
  }
  return undefined;
}

serve({
  defaultPort: 3003,
  prefix: '',
  answer: async ({ pathname }) => (pathname === '/' ? page(await users(), INSTANCE) : undefined),
});
