'use strict';
// users: who is in the directory.
//
//   GET /users                 [{email, phoneNumber}, ...]
//   GET /search?email=...      {email, phoneNumber}, or 404
//
// The numbers come from phones. Without it both answer all the same, with `phoneNumber` null and the
// header `X-Phone-Numbers: unavailable`.

const { serve, Refusal } = require('../lib/service');
const phoneNumbers = require('./phone_numbers');
const repository = require('./repository');

async function list(response) {
  const [users, numbers] = await Promise.all([repository.all(), phoneNumbers.all()]);
  return withNumbers(users, numbers, response);
}

async function search(email, response) {
  if (!email) throw new Refusal(400, 'The parameter "email" is missing: /search?email=homer@thesimpsons.com');
  const user = await repository.byEmail(email);
  if (!user) throw new Refusal(404, 'User not found.');
  const [found] = withNumbers([user], await phoneNumbers.of(user.email), response);
  return found;
}

function withNumbers(users, numbers, response) {
  if (!numbers) response.setHeader('X-Phone-Numbers', 'unavailable');
  return users.map(({ email }) => ({ email, phoneNumber: numbers?.get(email) ?? null }));
}

serve({
  defaultPort: 3001,
  prefix: '/users',
  answer: (url, response) => {
    if (url.pathname === '/users') return list(response);
    if (url.pathname === '/search') return search(url.searchParams.get('email'), response);
    return undefined;
  },
});
