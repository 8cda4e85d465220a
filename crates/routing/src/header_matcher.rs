//! What a route asks of one header.

use regex::bytes::Regex;

use crate::pattern;

/// The headers of a request, as routing reads them. Only asked for a route that lists headers.
pub trait HeaderLookup {
    /// Whether `accept` says yes to any value of the header `name`, which is given in lower case.
    fn any_value(&self, name: &str, accept: &mut dyn FnMut(&[u8]) -> bool) -> bool;
}

/// A header that must have one of some values, or one that a regex finds.
#[derive(Debug)]
pub(crate) struct HeaderMatcher {
    name: Box<str>,
    values: Values,
}

#[derive(Debug)]
enum Values {
    /// Compared without regard to ASCII case.
    AnyOf(Box<[Box<str>]>),
    /// Found anywhere in the value, in any case.
    Regex(Regex),
}

impl HeaderMatcher {
    /// Reads a header as a route lists it.
    pub(crate) fn parse(name: &str, values: &[String]) -> Result<Self, String> {
        if name.eq_ignore_ascii_case("host") {
            return Err("header `host` is matched by `hosts`".to_owned());
        }
        let values = match values {
            [] => return Err(format!("header `{name}` lists no values")),
            [only] => match only.strip_prefix("~*") {
                Some(regex) => Values::Regex(pattern::compile(regex, true).map_err(|error| {
                    format!("header `{name}`: `{only}` is not a regex that runs in linear time: {error}")
                })?),
                None => Values::AnyOf([only.as_str().into()].into()),
            },
            several => Values::AnyOf(several.iter().map(|value| value.as_str().into()).collect()),
        };
        Ok(Self {
            name: name.to_ascii_lowercase().into(),
            values,
        })
    }

    /// Whether the request has what is asked for.
    pub(crate) fn accepts(&self, headers: &dyn HeaderLookup) -> bool {
        headers.any_value(&self.name, &mut |value| match &self.values {
            Values::AnyOf(allowed) => allowed
                .iter()
                .any(|allowed| allowed.as_bytes().eq_ignore_ascii_case(value)),
            Values::Regex(regex) => regex.is_match(value),
        })
    }
}

/// Pairs of name and value.
impl HeaderLookup for Vec<(String, String)> {
    fn any_value(&self, name: &str, accept: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        self.iter()
            .any(|(own, value)| own.eq_ignore_ascii_case(name) && accept(value.as_bytes()))
    }
}
