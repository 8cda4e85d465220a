//! The HTTP/1.x wire: strict heads, bodies and framing. Pure: bytes in, decisions out.
