//! What a byte may be part of, by table, and the search for control bytes that drives the parsing of heads.

/// May stand in a token: method, field name, connection option.
pub(crate) const TOKEN: u8 = 1;
/// May stand in a token, but is neither letter, digit nor hyphen: some servers read it as a hyphen.
pub(crate) const ODD: u8 = 2;
/// May stand in a host name or an IPv4 address.
pub(crate) const HOST: u8 = 4;
/// May stand in a request target: visible ASCII but `#`.
pub(crate) const TARGET: u8 = 8;
/// Means the same in a URI whether escaped or not: the unreserved characters.
pub(crate) const UNRESERVED: u8 = 16;

const TABLE: [u8; 256] = table();

/// The classes of `byte`, as bits.
#[inline]
pub(crate) fn class(byte: u8) -> u8 {
    TABLE[byte as usize]
}

/// The first control byte (0 to 31 without the tab, or 127) at or after `from`.
#[inline]
pub(crate) fn find_control(buf: &[u8], from: usize) -> Option<usize> {
    let (words, rest) = buf[from..].as_chunks::<8>();
    for (n, word) in words.iter().enumerate() {
        let hits = control_bits(u64::from_le_bytes(*word));
        if hits == 0 {
            continue;
        }
        let lowest = (hits.trailing_zeros() / 8) as usize;
        if word[lowest] != b'\t' {
            return Some(from + n * 8 + lowest);
        }
        if let Some(index) = word.iter().position(|&byte| is_control(byte)) {
            return Some(from + n * 8 + index);
        }
    }
    let index = rest.iter().position(|&byte| is_control(byte))?;
    Some(buf.len() - rest.len() + index)
}

/// The value of a hex digit.
#[inline]
pub(crate) fn hex_value(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

/// The byte that the escape at the start of `bytes` (`%` and two hex digits) stands for.
#[inline]
pub(crate) fn escaped(bytes: &[u8]) -> Option<u8> {
    match *bytes {
        [b'%', high, low, ..] => Some(hex_value(high)? << 4 | hex_value(low)?),
        _ => None,
    }
}

/// `bytes` without the spaces and tabs around it.
#[inline]
pub(crate) fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = bytes {
        bytes = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

/// The members of a comma-separated list, trimmed, without the empty ones.
pub(crate) fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|&byte| byte == b',')
        .map(trim)
        .filter(|member| !member.is_empty())
}

#[inline]
pub(crate) fn is_control(byte: u8) -> bool {
    (byte < 0x20 && byte != b'\t') || byte == 0x7f
}

/// Sets the high bit of every byte that is below 32 or is 127. Borrows can set bits above the lowest one wrongly,
/// so only the lowest is to be trusted.
#[inline]
fn control_bits(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    let below_space = word.wrapping_sub(ONES * 0x20) & !word;
    let from_del = word ^ (ONES * 0x7f);
    let is_del = from_del.wrapping_sub(ONES) & !from_del;
    (below_space | is_del) & HIGHS
}

const fn table() -> [u8; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 128 {
        table[byte as usize] = classes_of(byte);
        byte += 1;
    }
    table
}

const fn classes_of(byte: u8) -> u8 {
    let mut classes = 0;
    if byte.is_ascii_graphic() && byte != b'#' {
        classes |= TARGET;
    }
    match byte {
        b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'-' => classes | TOKEN | HOST | UNRESERVED,
        b'.' | b'_' | b'~' => classes | TOKEN | HOST | UNRESERVED | ODD,
        b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'^' | b'`' | b'|' => classes | TOKEN | ODD,
        _ => classes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_first_control_byte_at_any_place() {
        for control in (0..=255).filter(|&byte| is_control(byte)) {
            for place in 0..40 {
                let mut text = [b" \t~a\x80\xff", [b'x'; 40].as_slice()].concat();
                text.splice(place..place, [control, b' ', b'\n']);
                assert_eq!(find_control(&text, 0), Some(place), "{control} at {place}");
                assert_eq!(find_control(&text[..place], 0), None);
            }
        }
    }

    #[test]
    fn tabs_and_high_bytes_are_no_controls() {
        let text: Vec<u8> = (0..=255).filter(|&byte| !is_control(byte)).collect();
        assert_eq!(find_control(&text, 0), None);
        assert_eq!(find_control(b"\t \t \t \t \t \t \t \t \r", 3), Some(16));
    }

    #[test]
    fn a_list_skips_empty_members() {
        let members: Vec<&[u8]> = list(b" a ,, b\t,").collect();
        assert_eq!(members, [b"a", b"b"]);
    }
}
