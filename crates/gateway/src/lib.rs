//! The data plane: accept, admit, match, before, pick, send, after, reply.
