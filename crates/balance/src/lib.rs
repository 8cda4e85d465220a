//! Which endpoint of a pool serves a request.
