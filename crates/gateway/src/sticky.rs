//! The cookie by which clients come back to the member they had: nginx's `sticky cookie`.
//!
//! Its value is the member's token in hexadecimal, nothing that tells where the member is. A client that brings none, or
//! one that leads to nobody who can be picked, gets whoever comes next and is told that one's.

use hythe_balance::{Member, Query};
use hythe_http1::{Known, RequestHead};
use hythe_model::balancing::{SameSite, Sticky};

use crate::edits::Edits;
use crate::hash_key::cookie;

/// See the module.
#[derive(Debug)]
pub(crate) struct StickyCookie {
    name: String,
    /// What follows the value.
    attributes: String,
}

impl StickyCookie {
    pub(crate) fn of(sticky: &Sticky) -> Self {
        let mut attributes = format!("; Path={}", sticky.path.as_deref().unwrap_or("/"));
        if let Some(age) = sticky.max_age_ms {
            attributes += &format!("; Max-Age={}", age.div_ceil(1000));
        }
        if sticky.http_only {
            attributes += "; HttpOnly";
        }
        if sticky.secure {
            attributes += "; Secure";
        }
        attributes += match sticky.same_site {
            Some(SameSite::Strict) => "; SameSite=Strict",
            Some(SameSite::Lax) => "; SameSite=Lax",
            Some(SameSite::None) => "; SameSite=None",
            None => "",
        };
        Self {
            name: sticky.cookie.clone(),
            attributes,
        }
    }

    /// The member that the client had, if it says.
    pub(crate) fn token(&self, head: &RequestHead, bytes: &[u8]) -> Option<u64> {
        let fields = head.fields.iter();
        let mut cookies = fields
            .filter(|field| field.known == Some(Known::Cookie))
            .filter_map(|field| cookie(field.value.of(bytes), self.name.as_bytes()));
        let value = std::str::from_utf8(cookies.next()?).ok()?;
        u64::from_str_radix(value, 16).ok()
    }

    /// Tells the client whom it has now, if that is another than it says.
    pub(crate) fn remember(&self, member: &Member, query: &Query, answer: &mut Edits) {
        if !query.is_back_at(member) {
            let (name, attributes) = (&self.name, &self.attributes);
            let cookie = format!("{name}={:016x}{attributes}", member.token());
            answer.append("Set-Cookie", cookie);
        }
    }
}

#[cfg(test)]
mod tests {
    use hythe_http1::Limits;
    use serde_json::json;

    use super::*;

    fn sticky(settings: serde_json::Value) -> StickyCookie {
        StickyCookie::of(&serde_json::from_value(settings).unwrap())
    }

    #[test]
    fn attributes() {
        let rows = [
            (json!({"cookie": "srv"}), "; Path=/; HttpOnly"),
            (
                json!({"cookie": "srv", "path": "/a", "max_age_ms": 1500, "http_only": false}),
                "; Path=/a; Max-Age=2",
            ),
            (
                json!({"cookie": "srv", "secure": true, "same_site": "none"}),
                "; Path=/; HttpOnly; Secure; SameSite=None",
            ),
        ];
        for (settings, expected) in rows {
            assert_eq!(sticky(settings).attributes, expected);
        }
    }

    #[test]
    fn tokens() {
        let rows = [
            ("Cookie: srv=00000000000000ff", Some(255)),
            ("Cookie: a=1; srv=ff; b=2", Some(255)),
            ("Cookie: a=1\r\nCookie: srv=ff", Some(255)),
            ("Cookie: srv2=ff", None),
            ("Cookie: srv=", None),
            ("Cookie: srv=10.0.0.1", None),
            ("Cookie: srv=1ffffffffffffffff", None),
            ("X: srv=ff", None),
        ];
        for (field, expected) in rows {
            let request = format!("GET / HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\n");
            let mut head = RequestHead::default();
            head.parse(request.as_bytes(), &Limits::default()).unwrap();
            let token = sticky(json!({"cookie": "srv"})).token(&head, request.as_bytes());
            assert_eq!(token, expected, "{field}");
        }
    }
}
