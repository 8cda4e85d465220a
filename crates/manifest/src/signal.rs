//! Signals by the names people know, as Linux numbers them.

const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
    "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
    "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

/// The number of `SIGTERM`, `term` or `15`.
pub(crate) fn number(text: &str) -> Option<i32> {
    if let Ok(number) = text.parse::<i32>() {
        return (1..=64).contains(&number).then_some(number);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let position = NAMES.iter().position(|known| *known == name)?;
    i32::try_from(position + 1).ok()
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_and_numbers() {
        let rows = [
            ("SIGTERM", Some(15)),
            ("int", Some(2)),
            ("SIGSYS", Some(31)),
            ("9", Some(9)),
            ("0", None),
            ("65", None),
            ("SIGNAL", None),
        ];
        for (text, expected) in rows {
            assert_eq!(super::number(text), expected, "{text}");
        }
    }
}
