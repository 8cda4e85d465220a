//! What is wrong with a certificate that somebody wants to use, in words.

use crate::identity::{Facts, Identity, IdentityError};

/// Something wrong with a certificate or its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    /// Whether the key is to blame, and not the certificate.
    pub of_key: bool,
    /// Whether it cannot be used at all. One whose time is over still can: clients decide.
    pub fatal: bool,
    /// What is wrong, as a lower-case fragment.
    pub message: String,
}

/// Everything wrong with a chain and its `key`, or with certificates of authorities (no key), at `now`, Unix
/// seconds.
pub fn complaints(certificate: &str, key: Option<&str>, now: i64) -> Vec<Complaint> {
    let facts = match key {
        Some(key) => Identity::from_pem(certificate, key).map(|identity| vec![identity.facts().clone()]),
        None => crate::authorities(&[certificate.to_owned()]).and_then(|_| Facts::from_pem(certificate)),
    };
    match facts {
        Ok(facts) => facts.iter().filter_map(|facts| untimely(facts, now)).collect(),
        Err(error) => vec![unusable(&error)],
    }
}

fn unusable(error: &IdentityError) -> Complaint {
    Complaint {
        of_key: error.is_of_key(),
        fatal: true,
        message: error.to_string(),
    }
}

fn untimely(facts: &Facts, now: i64) -> Option<Complaint> {
    const DAY: i64 = 86_400;
    let days = |seconds: i64| (seconds + DAY - 1) / DAY;
    let message = if now > facts.not_after {
        format!("the certificate expired {} days ago", days(now - facts.not_after))
    } else if now < facts.not_before {
        format!(
            "the certificate is not valid for another {} days",
            days(facts.not_before - now)
        )
    } else {
        return None;
    };
    Some(Complaint {
        of_key: false,
        fatal: false,
        message,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::made;

    #[test]
    fn time_and_key_are_looked_at() {
        let (one, other) = (made(&["a.test"]), made(&["a.test"]));
        let facts = Facts::from_pem(&one.certificate).unwrap().remove(0);
        let rows = [
            (Some(&one.key), facts.not_after, None),
            (
                Some(&one.key),
                facts.not_after + 1,
                Some("the certificate expired 1 days ago"),
            ),
            (
                Some(&one.key),
                facts.not_before - 86_401,
                Some("the certificate is not valid for another 2 days"),
            ),
            (
                Some(&other.key),
                facts.not_after,
                Some("the key is not that of the certificate"),
            ),
            (None, facts.not_after, None),
        ];
        for (key, now, expected) in rows {
            let complaints = complaints(&one.certificate, key.map(String::as_str), now);
            let message = complaints.first().map(|complaint| complaint.message.as_str());
            assert_eq!(message, expected);
        }
    }
}
